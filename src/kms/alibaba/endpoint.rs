//! Where the KMS is: by region, by VPC, or as it is told. Plain HTTP reaches this host only.

use reqwest::Url;

use super::settings::{Network, Settings};
use crate::kms::KmsError;

/// An address that requests can be sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Scheme and authority, ending in `/`.
    pub url: Url,
    /// The header `Host`: with the port where it is not the scheme's own.
    pub host: String,
}

impl Endpoint {
    /// The endpoint that the settings name.
    ///
    /// # Errors
    /// `Kms.Endpoint`.
    pub fn of(settings: &Settings) -> Result<Endpoint, KmsError> {
        match (&settings.endpoint, &settings.region) {
            (Some(endpoint), _) => Endpoint::parse(endpoint),
            (None, Some(region)) if is_region(region) => {
                let product = match settings.network {
                    Network::Public => "kms",
                    Network::Vpc => "kms-vpc",
                };
                Endpoint::parse(&format!("{product}.{region}.aliyuncs.com"))
            }
            (None, Some(region)) => Err(wrong(format!("{region:?} is not the name of a region"))),
            (None, None) => Err(wrong("neither a region nor an endpoint is known")),
        }
    }

    /// An endpoint as text: a host name (then by HTTPS), or a URL without path.
    ///
    /// # Errors
    /// `Kms.Endpoint`: it is no address, has more than one, or would send requests unencrypted over a network.
    pub fn parse(text: &str) -> Result<Endpoint, KmsError> {
        let text = text.trim();
        let full = match text.contains("://") {
            true => text.to_owned(),
            false => format!("https://{text}"),
        };
        let url = Url::parse(&full).map_err(|error| wrong(format!("the endpoint {text:?} is no address: {error}")))?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if !bare || !url.username().is_empty() || url.password().is_some() {
            return Err(wrong(format!("the endpoint {text:?} is more than a host and a port")));
        }
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| wrong(format!("the endpoint {text:?} names no host")))?;
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) => {}
            "http" => {
                let what = format!("the endpoint {text:?} would be asked unencrypted; http is for this host only");
                return Err(wrong(what));
            }
            scheme => {
                return Err(wrong(format!(
                    "the endpoint {text:?} is reached by {scheme}, not by https"
                )));
            }
        }
        let host = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        Ok(Endpoint { url, host })
    }

    /// Whether requests go out unencrypted, within this host.
    pub fn is_plain(&self) -> bool {
        self.url.scheme() == "http"
    }
}

/// Whether somebody who can write a volume's descriptor may lead requests to this endpoint: the cloud's own addresses,
/// and this host.
#[must_use]
pub fn is_harmless(endpoint: &str) -> bool {
    Endpoint::parse(endpoint).is_ok_and(|endpoint| {
        let host = endpoint.url.host_str().unwrap_or_default();
        is_loopback(&endpoint.url) || host.ends_with(".aliyuncs.com")
    })
}

fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let address = host.trim_start_matches('[').trim_end_matches(']');
    match address.parse::<std::net::IpAddr>() {
        Ok(address) => address.is_loopback(),
        // What it resolves to is not ours to trust, but for this name (RFC 6761, section 6.3).
        Err(_) => host == "localhost",
    }
}

fn is_region(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (2..=40).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with('-') && !text.ends_with('-')
}

fn wrong(message: impl Into<String>) -> KmsError {
    KmsError::new("Kms.Endpoint", message)
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings;
    use super::*;

    fn parsed(text: &str) -> Result<(String, String), String> {
        let endpoint = Endpoint::parse(text).map_err(|error| error.message().to_owned())?;
        Ok((endpoint.url.to_string(), endpoint.host))
    }

    #[test]
    fn by_region_and_network() {
        let mut settings = Settings {
            endpoint: None,
            region: Some("cn-hangzhou".into()),
            ..settings("")
        };
        assert_eq!(Endpoint::of(&settings).unwrap().host, "kms.cn-hangzhou.aliyuncs.com");
        settings.network = Network::Vpc;
        assert_eq!(
            Endpoint::of(&settings).unwrap().host,
            "kms-vpc.cn-hangzhou.aliyuncs.com"
        );
        settings.endpoint = Some("kst-1.cryptoservice.kms.aliyuncs.com".into());
        assert_eq!(
            Endpoint::of(&settings).unwrap().url.as_str(),
            "https://kst-1.cryptoservice.kms.aliyuncs.com/"
        );
        for region in ["", "cn hangzhou", "evil.example/", "-cn", "CN"] {
            let settings = Settings {
                endpoint: None,
                region: Some(region.into()),
                ..settings.clone()
            };
            assert_eq!(Endpoint::of(&settings).unwrap_err().code(), "Kms.Endpoint", "{region}");
        }
    }

    #[test]
    fn ports_stand_in_the_host_header_unless_they_are_the_usual_ones() {
        let pair = |url: &str, host: &str| Ok((url.to_owned(), host.to_owned()));
        assert_eq!(
            parsed("a.example:8443"),
            pair("https://a.example:8443/", "a.example:8443")
        );
        assert_eq!(
            parsed("https://a.example:443/"),
            pair("https://a.example/", "a.example")
        );
        assert_eq!(parsed("http://127.0.0.1:80"), pair("http://127.0.0.1/", "127.0.0.1"));
        assert_eq!(parsed("http://[::1]:8080"), pair("http://[::1]:8080/", "[::1]:8080"));
        assert_eq!(parsed("http://localhost:1"), pair("http://localhost:1/", "localhost:1"));
    }

    #[test]
    fn nothing_leaves_this_host_unencrypted() {
        for text in [
            "http://kms.cn-hangzhou.aliyuncs.com",
            "http://10.0.0.1:80",
            "http://localhost.example",
        ] {
            assert!(parsed(text).unwrap_err().contains("unencrypted"), "{text}");
        }
        for text in [
            "",
            "ftp://a",
            "https://",
            "https://a/path",
            "https://u:p@a",
            "https://a?b",
            "a b",
        ] {
            assert!(parsed(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_descriptor_leads_to_the_cloud_or_to_this_host_only() {
        let harmless = is_harmless;
        assert!(harmless("kms.cn-hangzhou.aliyuncs.com") && harmless("http://127.0.0.1:9"));
        assert!(!harmless("aliyuncs.com.example") && !harmless("evilaliyuncs.com") && !harmless("https://10.0.0.1"));
    }
}
