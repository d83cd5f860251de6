//! Certificates made when the test runs.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};

/// A test's certificate authority.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate with its key, both PEM.
pub struct Certificate {
    pub certificate: String,
    pub key: String,
}

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    Now,
    Expired,
    /// From yesterday until about a month from now, like those of public authorities.
    Briefly,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer }
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A server certificate for a host name or an address.
    pub fn server(&self, name: &str, validity: Validity) -> Certificate {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if validity == Validity::Expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        if validity == Validity::Briefly {
            let day = |days: i64| {
                let date = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days))
                    .strftime("%Y %m %d")
                    .to_string();
                let numbers: Vec<u16> = date
                    .split(' ')
                    .map(|number| number.parse().unwrap())
                    .collect();
                date_time_ymd(
                    numbers[0].into(),
                    u8::try_from(numbers[1]).unwrap(),
                    u8::try_from(numbers[2]).unwrap(),
                )
            };
            params.not_before = day(-1);
            params.not_after = day(30);
        }
        self.sign(params)
    }

    /// A client certificate with the CN `name`.
    pub fn client(&self, name: &str) -> Certificate {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Certificate {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Certificate {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}
