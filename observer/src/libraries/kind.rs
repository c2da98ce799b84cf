//! Which TLS library a file is, by the functions that it defines.
//!
//! `GnuTLS` is one by itself. All others have `SSL_read` and `SSL_write`. What tells them apart are functions that only one
//! of them has, by the headers and lists of symbols of AWS-LC 1.x, `BoringSSL`, `LibreSSL` 3.x and OpenSSL 1.0.2 to 3.x.

use observer_ebpf::layout::library::Kind;

use super::functions::Family;

/// `SSL_to_bytes` is in AWS-LC's libssl, the other in its libcrypto, and both in what is linked with them.
const AWS_LC: [&str; 2] = ["SSL_to_bytes", "awslc_api_version_num"];
/// `BoringSSL` has it, and what was made of it: AWS-LC.
const BORINGSSL: &str = "SSL_CTX_set_grease_enabled";
/// Made for `LibreSSL`'s libtls. Programs for OpenSSL that were written for `LibreSSL` sometimes bring one.
const LIBRESSL: &str = "SSL_CTX_use_certificate_chain_mem";
/// OpenSSL has it since 1.0.2, `LibreSSL` never had.
const OPENSSL: &str = "SSL_CONF_CTX_new";

/// The functions that tell libraries apart.
pub(super) const MARKS: [&str; 5] = [AWS_LC[0], AWS_LC[1], BORINGSSL, LIBRESSL, OPENSSL];

/// The library of a family that defines these of [`MARKS`], where `version` is the version of its first needed symbol.
pub(super) fn of(family: Family, defines: impl Fn(&str) -> bool, version: Option<&str>) -> Kind {
    if family == Family::Gnutls {
        Kind::Gnutls
    } else if AWS_LC.iter().any(|name| defines(name)) {
        Kind::AwsLc
    } else if defines(BORINGSSL) {
        Kind::Boringssl
    } else if defines(OPENSSL) || version.is_some_and(|version| version.starts_with(VERSIONS)) {
        Kind::Openssl
    } else if defines(LIBRESSL) {
        Kind::Libressl
    } else {
        Kind::Unknown
    }
}

/// What the versions of OpenSSL's symbols start with.
const VERSIONS: &str = "OPENSSL_";

/// And of `GnuTLS`'s.
const GNUTLS_VERSIONS: &str = "GNUTLS_";

/// A library's version by that of its first needed symbol, as far as it lasts. Of OpenSSL `3` of `OPENSSL_3.0.0`, which
/// all of 3.x have, `1.1` of `OPENSSL_1_1_0`, and `1.0` of `OPENSSL_1.0.0`. Of `GnuTLS` `3` of `GNUTLS_3_4`; none of
/// `GNUTLS_1_4`, which all had from there to 3.3.
pub(super) fn version(symbol_version: &str) -> Option<String> {
    let (of_gnutls, rest) = match symbol_version.strip_prefix(GNUTLS_VERSIONS) {
        Some(rest) => (true, rest),
        None => (false, symbol_version.strip_prefix(VERSIONS)?),
    };
    let mut parts = rest.split(['.', '_']);
    let mut number = || parts.next()?.parse::<u16>().ok();
    let major = number()?;
    if of_gnutls && major < 3 {
        return None;
    }
    if major >= 3 {
        return Some(major.to_string());
    }
    Some(format!("{major}.{}", number()?))
}

#[cfg(test)]
mod tests {
    use super::{Family, Kind, of, version};

    #[test]
    fn libraries_are_told_by_what_only_they_define() {
        for (defined, symbol_version, kind) in [
            (&["SSL_CONF_CTX_new"][..], None, Kind::Openssl),
            (&["SSL_CONF_CTX_new", "SSL_CTX_use_certificate_chain_mem"], None, Kind::Openssl),
            (&[], Some("OPENSSL_1.0.0"), Kind::Openssl),
            (&["SSL_CTX_set_grease_enabled"], None, Kind::Boringssl),
            (&["SSL_CTX_set_grease_enabled", "SSL_CONF_CTX_new"], None, Kind::Boringssl),
            (&["SSL_CTX_set_grease_enabled", "SSL_to_bytes"], None, Kind::AwsLc),
            (&["SSL_CTX_set_grease_enabled", "awslc_api_version_num"], None, Kind::AwsLc),
            (&["SSL_CTX_use_certificate_chain_mem"], None, Kind::Libressl),
            (&[], Some("GNUTLS_3_4"), Kind::Unknown),
            (&[], None, Kind::Unknown),
        ] {
            let defines = |name: &str| defined.contains(&name);
            assert_eq!(of(Family::Openssl, defines, symbol_version), kind, "{defined:?}");
            assert_eq!(of(Family::Gnutls, defines, symbol_version), Kind::Gnutls);
        }
    }

    #[test]
    fn versions_are_told_as_far_as_symbols_tell_them() {
        for (symbol_version, expected) in [
            ("OPENSSL_3.0.0", Some("3")),
            ("OPENSSL_4.0.0", Some("4")),
            ("OPENSSL_1_1_0", Some("1.1")),
            ("OPENSSL_1_1_1", Some("1.1")),
            ("OPENSSL_1.0.0", Some("1.0")),
            ("OPENSSL_1.0.2d", Some("1.0")),
            ("OPENSSL_1", None),
            ("OPENSSL_", None),
            ("OPENSSL_99999.0.0", None),
            ("GNUTLS_3_4", Some("3")),
            ("GNUTLS_3_6_3", Some("3")),
            ("GNUTLS_1_4", None),
            ("GNUTLS_", None),
            ("", None),
        ] {
            assert_eq!(version(symbol_version).as_deref(), expected, "{symbol_version}");
        }
    }
}
