//! Why a session could not be opened, or has ended, in words with the remedy.

use std::{io, io::ErrorKind};

use rumqttc::{
    ConnectReturnCode, ConnectionError, DisconnectReasonCode, StateError, TlsError, mqttbytes,
};

use super::{Fault, FaultKind, Settings, address, tls};

fn refusal_words(code: ConnectReturnCode) -> String {
    use ConnectReturnCode as Code;
    match code {
        Code::BadUserNamePassword | Code::BadAuthenticationMethod => {
            "the broker refuses user name or password: check [mqtt] username and password_credential".to_owned()
        }
        Code::NotAuthorized => {
            "the broker does not let this station in: check [mqtt] username, password_credential and the broker's access list".to_owned()
        }
        Code::BadClientId | Code::ClientIdentifierNotValid => "the broker refuses the client id: allow benchlight-<site>-<station> there".to_owned(),
        Code::RefusedProtocolVersion | Code::UnsupportedProtocolVersion => {
            "the broker does not speak MQTT 5: update it or switch MQTT 5 on".to_owned()
        }
        Code::RetainNotSupported => "the broker takes no retained message, and the will must be one: allow retained messages there".to_owned(),
        Code::QoSNotSupported => "the broker takes no message with QoS 1, so it acknowledges none: allow QoS 1 there".to_owned(),
        Code::Banned => "the broker has banned this station: ask whoever runs it".to_owned(),
        Code::UseAnotherServer | Code::ServerMoved => "the broker has moved: set its new address in [mqtt] url".to_owned(),
        Code::ServiceUnavailable | Code::ServerUnavailable | Code::ServerBusy | Code::QuotaExceeded | Code::ConnectionRateExceeded => {
            format!("the broker takes no connection now ({code:?})")
        }
        other => format!("the broker refuses the connection ({other:?})"),
    }
}

fn disconnect_fault(code: DisconnectReasonCode) -> Fault {
    use DisconnectReasonCode as Code;
    match code {
        Code::SessionTakenOver => Fault::taken_over(),
        Code::UnspecifiedError
        | Code::MalformedPacket
        | Code::ProtocolError
        | Code::ImplementationSpecificError
        | Code::TopicNameInvalid
        | Code::ReceiveMaximumExceeded
        | Code::TopicAliasInvalid
        | Code::PacketTooLarge
        | Code::PayloadFormatInvalid
        | Code::RetainNotSupported
        | Code::QoSNotSupported => Fault::new(
            FaultKind::Broke,
            format!("the broker ended the session ({code:?})"),
        ),
        other => Fault::new(
            FaultKind::Away,
            format!("the broker ended the session ({other:?})"),
        ),
    }
}

/// Why no session could be had.
pub(super) fn no_session(error: &ConnectionError, settings: &Settings) -> Fault {
    let address = address(settings);
    let host = settings.url.host_str().unwrap_or_default();
    let words = match error {
        error if let Some(error) = io_error(error) => io_words(error, &address, host),
        ConnectionError::Tls(TlsError::TLS(error)) => tls::fault_in_words(error, host),
        ConnectionError::Tls(error) => format!("TLS with {address} failed: {error}"),
        ConnectionError::Timeout(_) => no_answer(&address),
        ConnectionError::ConnectionRefused(code) | ConnectionError::MqttState(StateError::ConnFail { reason: code }) => refusal_words(*code),
        ConnectionError::SessionStateMismatch { .. } => {
            "the broker claims to keep a session that was to start clean, which MQTT forbids: update or restart the broker".to_owned()
        }
        ConnectionError::MqttState(StateError::Deserialization(mqttbytes::Error::ProtocolError)) => {
            format!(
                "{address} answers what MQTT 5 forbids, such as 0 for its receive maximum or its maximum packet size: mend its limits, or update it"
            )
        }
        ConnectionError::MqttState(StateError::Deserialization(_)) | ConnectionError::NotConnAck(_) => {
            format!("{address} does not answer in MQTT 5: check scheme, host and port of [mqtt] url")
        }
        ConnectionError::MqttState(StateError::ConnectionAborted) => {
            format!("{address} closes the connection at once: check that it speaks MQTT 5, and scheme and port of [mqtt] url")
        }
        other => format!("no session with {address}: {other}"),
    };
    Fault::new(FaultKind::Away, words)
}

pub(super) fn no_answer(address: &str) -> String {
    format!(
        "the broker {address} does not answer: check the network, and host and port of [mqtt] url"
    )
}

/// The I/O error inside, wherever the client puts it.
fn io_error(error: &ConnectionError) -> Option<&io::Error> {
    match error {
        ConnectionError::Io(error)
        | ConnectionError::Tls(TlsError::Io(error))
        | ConnectionError::MqttState(
            StateError::Io(error) | StateError::Deserialization(mqttbytes::Error::Io(error)),
        ) => Some(error),
        _ => None,
    }
}

pub(in crate::publisher) fn io_words(error: &io::Error, address: &str, host: &str) -> String {
    if let Some(words) = tls::in_words(error, host) {
        return words;
    }
    match error.kind() {
        ErrorKind::ConnectionRefused => {
            format!("nothing listens at {address}: start the broker, or check [mqtt] url")
        }
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::UnexpectedEof
        | ErrorKind::BrokenPipe => {
            format!(
                "{address} closes the connection: check scheme and port of [mqtt] url, and the broker's log"
            )
        }
        ErrorKind::TimedOut => no_answer(address),
        _ => format!("{address} cannot be reached: {error}"),
    }
}

/// Why a session ended.
pub(super) fn session_ended(error: &ConnectionError) -> Fault {
    match error {
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => {
            disconnect_fault(*reason_code)
        }
        ConnectionError::MqttState(StateError::AwaitPingResp | StateError::CollisionTimeout) => {
            Fault::new(
                FaultKind::Away,
                "the broker has fallen silent: the link is dead or the broker is frozen",
            )
        }
        // The kernel gave the connection up, see `UNHEARD` in `connect`.
        error if io_error(error).is_some_and(|error| error.kind() == ErrorKind::TimedOut) => {
            Fault::new(
                FaultKind::Away,
                "nothing that is sent to the broker arrives any more: the link is dead",
            )
        }
        error if let Some(error) = io_error(error) => {
            // The broker's certificate was good when the session began: what is refused now is ours.
            let words = tls::in_words(error, "")
                .unwrap_or_else(|| format!("the connection to the broker broke ({error})"));
            Fault::new(FaultKind::Broke, words)
        }
        ConnectionError::MqttState(StateError::ConnectionAborted) => {
            Fault::new(FaultKind::Broke, "the broker closed the connection")
        }
        other => Fault::new(
            FaultKind::Broke,
            format!("the session with the broker ended: {other}"),
        ),
    }
}
