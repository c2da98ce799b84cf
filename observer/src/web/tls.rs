//! TLS as the file of `--web-config` wants it, by rustls.

use std::fmt::Display;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_native_certs::load_native_certs;
use tokio_rustls::rustls;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::ring::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    SupportedCipherSuite, SupportedProtocolVersion,
};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// Text in the file, or a file that it names.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Pem {
    Inline(String),
    File(PathBuf),
}

/// The text may be a key.
impl std::fmt::Debug for Pem {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inline(_) => out.write_str("Inline(…)"),
            Self::File(path) => out.debug_tuple("File").field(path).finish(),
        }
    }
}

/// How TLS is spoken.
#[derive(Debug)]
pub(super) struct Tls {
    pub(super) certificate: Pem,
    pub(super) key: Pem,
    pub(super) client_ca: Option<Pem>,
    /// Without it, clients are asked for no certificate.
    pub(super) client_auth: Option<ClientAuth>,
    /// Names of which a client's certificate must have one; without any, it needs none.
    pub(super) client_names: Vec<String>,
    pub(super) min_version: Version,
    pub(super) max_version: Version,
    /// Those of TLS 1.2 that may be used; without any, all that there are.
    pub(super) suites: Vec<Suite>,
    pub(super) prefers_own_order: bool,
    pub(super) curves: Vec<Curve>,
}

/// What is asked of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientAuth {
    /// A certificate that they give must be good.
    IfGiven,
    /// They must give one that is good.
    Required,
}

impl ClientAuth {
    pub(super) fn parse(name: &str) -> Result<Option<Self>, String> {
        match name {
            "" | "NoClientCert" => Ok(None),
            "VerifyClientCertIfGiven" => Ok(Some(Self::IfGiven)),
            "RequireAndVerifyClientCert" => Ok(Some(Self::Required)),
            "RequestClientCert" | "RequireAnyClientCert" | "RequireClientCert" => Err(format!(
                "{name} lets in whoever makes a certificate; this agent knows VerifyClientCertIfGiven and \
                RequireAndVerifyClientCert"
            )),
            _ => Err(format!("unknown: {}", name.escape_debug())),
        }
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(super) enum Version {
    Tls12,
    Tls13,
}

impl Version {
    pub(super) fn parse(name: &str) -> Result<Self, String> {
        match name {
            "TLS12" => Ok(Self::Tls12),
            "TLS13" => Ok(Self::Tls13),
            "TLS10" | "TLS11" => Err(format!("{name} is not safe; this agent speaks TLS12 and TLS13")),
            _ => Err(format!("unknown: {}", name.escape_debug())),
        }
    }

    const fn supported(self) -> &'static SupportedProtocolVersion {
        match self {
            Self::Tls12 => &rustls::version::TLS12,
            Self::Tls13 => &rustls::version::TLS13,
        }
    }
}

/// A cipher suite, by the name that Go has for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Suite(SupportedCipherSuite);

impl Suite {
    pub(super) fn parse(name: &str) -> Result<Self, String> {
        Ok(Self(match name {
            "TLS_AES_128_GCM_SHA256" => cipher_suite::TLS13_AES_128_GCM_SHA256,
            "TLS_AES_256_GCM_SHA384" => cipher_suite::TLS13_AES_256_GCM_SHA384,
            "TLS_CHACHA20_POLY1305_SHA256" => cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256" => {
                cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            }
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384" => {
                cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
            }
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" => cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384" => cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256" => {
                cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
            }
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256" => {
                cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
            }
            _ => return Err(format!("this agent does not know {}", name.escape_debug())),
        }))
    }
}

/// A group of a key exchange, by the name that Go has for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Curve(&'static dyn SupportedKxGroup);

impl Curve {
    pub(super) fn parse(name: &str) -> Result<Self, String> {
        match name {
            "X25519" => Ok(Self(kx_group::X25519)),
            "CurveP256" => Ok(Self(kx_group::SECP256R1)),
            "CurveP384" => Ok(Self(kx_group::SECP384R1)),
            _ => Err(format!("this agent does not know {}", name.escape_debug())),
        }
    }
}

impl Tls {
    /// The files that it needs.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()].into_iter().flatten().filter_map(
            |pem| match pem {
                Pem::File(path) => Some(path.as_path()),
                Pem::Inline(_) => None,
            },
        )
    }

    /// Reads the files. An error is one line, and names the key.
    pub(super) fn load(&self) -> Result<Arc<ServerConfig>, String> {
        let provider = Arc::new(self.provider());
        let versions: Vec<_> = [Version::Tls12, Version::Tls13]
            .into_iter()
            .filter(|&version| self.min_version <= version && version <= self.max_version)
            .map(Version::supported)
            .collect();
        let wrong = |key: &str, problem: &dyn Display| format!("tls_server_config.{key}: {problem}");
        let certificates = certificates("cert", &self.certificate)?;
        let text = read("key", &self.key)?;
        let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| told("key", &self.key, &error))?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)
            .map_err(|error| wrong("cipher_suites", &error))?;
        let builder = match self.client_verifier(&provider)? {
            None => builder.with_no_client_auth(),
            Some(verifier) => builder.with_client_cert_verifier(verifier),
        };
        let mut config = builder.with_single_cert(certificates, key).map_err(|error| {
            told("key", &self.key, &format!("cannot be used with the certificate: {error}"))
        })?;
        config.ignore_client_order = self.prefers_own_order;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn provider(&self) -> CryptoProvider {
        let mut provider = default_provider();
        let is_of_12 = |suite: &SupportedCipherSuite| suite.tls13().is_none();
        if !self.suites.is_empty() {
            // As in Go: the list is about TLS 1.2; those of 1.3 are always there.
            provider.cipher_suites.retain(|suite| !is_of_12(suite));
            provider.cipher_suites.extend(self.suites.iter().map(|suite| suite.0).filter(is_of_12));
        }
        if !self.curves.is_empty() {
            provider.kx_groups = self.curves.iter().map(|curve| curve.0).collect();
        }
        provider
    }

    fn client_verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, String> {
        let Some(client_auth) = self.client_auth else { return Ok(None) };
        let mut roots = RootCertStore::empty();
        let problem = |problem: &dyn Display| match &self.client_ca {
            Some(pem) => told("client_ca", pem, problem),
            None => format!("tls_server_config.client_ca_file: {problem}"),
        };
        if let Some(pem) = &self.client_ca {
            for certificate in certificates("client_ca", pem)? {
                roots.add(certificate).map_err(|error| problem(&error))?;
            }
        } else {
            // As in Go: without it, those that the system trusts.
            roots.add_parsable_certificates(load_native_certs().certs);
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        let builder = match client_auth {
            ClientAuth::IfGiven => builder.allow_unauthenticated(),
            ClientAuth::Required => builder,
        };
        let verifier = builder.build().map_err(|error| problem(&error))?;
        if self.client_names.is_empty() {
            return Ok(Some(verifier));
        }
        Ok(Some(Arc::new(Named { verifier, names: self.client_names.clone() })))
    }
}

fn read(key: &str, pem: &Pem) -> Result<Vec<u8>, String> {
    match pem {
        Pem::Inline(text) => Ok(text.clone().into_bytes()),
        Pem::File(path) => fs::read(path).map_err(|error| told(key, pem, &error)),
    }
}

/// What is wrong with a file, or with the text in its place.
fn told(key: &str, pem: &Pem, problem: &dyn Display) -> String {
    match pem {
        Pem::Inline(_) => format!("tls_server_config.{key}: {problem}"),
        Pem::File(path) => format!("tls_server_config.{key}_file: {}: {problem}", path.display()),
    }
}

fn certificates(key: &str, pem: &Pem) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read(key, pem)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let all = all.map_err(|error| told(key, pem, &error))?;
    if all.is_empty() { Err(told(key, pem, &"holds no certificate")) } else { Ok(all) }
}

/// Lets in clients with a good certificate that has one of these names.
#[derive(Debug)]
struct Named {
    verifier: Arc<dyn ClientCertVerifier>,
    names: Vec<String>,
}

impl Named {
    fn has_name(&self, certificate: &[u8]) -> bool {
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
        let Ok(Some(extension)) = certificate.subject_alternative_name() else { return false };
        extension.value.general_names.iter().filter_map(shown).any(|name| self.names.contains(&name))
    }
}

/// A name as the file has it: exactly what a DNS name, an address of mail, a URI says, or an IP address.
fn shown(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(text) | GeneralName::RFC822Name(text) | GeneralName::URI(text) => {
            Some((*text).to_owned())
        }
        GeneralName::IPAddress(bytes) => {
            let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let address = four.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok()?;
            Some(address.to_string())
        }
        _ => None,
    }
}

impl ClientCertVerifier for Named {
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.verifier.verify_client_cert(end_entity, intermediates, now)?;
        if self.has_name(end_entity) {
            Ok(verified)
        } else {
            Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn client_auth_mandatory(&self) -> bool {
        self.verifier.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
