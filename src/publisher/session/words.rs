//! What a broker means by the codes with which it refuses or ends a session.

use rumqttc::{ConnectReturnCode, DisconnectReasonCode};

use super::{Fault, FaultKind};

pub(super) fn refusal_words(code: ConnectReturnCode) -> String {
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
        Code::QoSNotSupported => "the broker takes no message with QoS 1, so it cannot confirm any: allow QoS 1 there".to_owned(),
        Code::Banned => "the broker has banned this station: ask whoever runs it".to_owned(),
        Code::UseAnotherServer | Code::ServerMoved => "the broker has moved: set its new address in [mqtt] url".to_owned(),
        Code::ServiceUnavailable | Code::ServerUnavailable | Code::ServerBusy | Code::QuotaExceeded | Code::ConnectionRateExceeded => {
            format!("the broker takes no connection now ({code:?})")
        }
        other => format!("the broker refuses the connection ({other:?})"),
    }
}

pub(super) fn disconnect_fault(code: DisconnectReasonCode) -> Fault {
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
