//! Whom the client believes: only who has a certificate of the CA that was named, for the name that was asked.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::tests::{KEY_ID, KEY_TEXT, client_with, context, settings, wrapped};
use super::*;
use crate::kms::{Kms, KmsError, Remedy};

fn sample(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/samples/tls")
        .join(name)
}

/// A KMS behind TLS, as `localhost`, which answers one request. Gives its port.
fn serve() -> u16 {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let chain = CertificateDer::pem_file_iter(sample("server.pem"))
        .unwrap()
        .map(Result::unwrap);
    let key = PrivateKeyDer::from_pem_file(sample("server.key")).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain.collect(), key);
    let config = Arc::new(config.unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
        let mut bytes = [0; 8192];
        // Who does not believe the certificate ends the connection here.
        if stream.read(&mut bytes).is_ok_and(|read| read > 0) {
            let body = format!(r#"{{"KeyId":"{KEY_ID}","Plaintext":"{KEY_TEXT}"}}"#);
            let length = body.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).unwrap();
            stream.conn.send_close_notify();
            stream.flush().unwrap();
        }
    });
    port
}

fn ask(endpoint: &str, ca: &str) -> Result<(), KmsError> {
    let settings = Settings {
        ca_file: Some(sample(ca)),
        ..settings(endpoint)
    };
    client_with(settings).decrypt(&wrapped(), &context()).map(drop)
}

#[test]
fn a_certificate_of_the_named_ca_is_believed() {
    ask(&format!("localhost:{}", serve()), "ca.pem").unwrap();
}

#[test]
fn others_are_not_even_asked() {
    let strangers = [
        ask(&format!("localhost:{}", serve()), "other-ca.pem"),
        ask(&format!("127.0.0.1:{}", serve()), "ca.pem"),
    ];
    for outcome in strangers {
        let error = outcome.unwrap_err();
        // It might be a way through somebody else's network: no reason to lock.
        assert_eq!(
            (error.code(), error.remedy()),
            ("Kms.Untrusted", Remedy::Unreachable),
            "{error}"
        );
    }
}

#[test]
fn who_does_not_speak_tls_hears_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = [0; 4096];
        let read = stream.read(&mut bytes).unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        bytes[..read].to_vec()
    });
    let error = ask(&format!("localhost:{port}"), "ca.pem").unwrap_err();
    assert_eq!(error.code(), "Kms.Unreachable", "{error}");
    let heard = heard.join().unwrap();
    assert_eq!(heard[0], 22, "a handshake (RFC 8446, section 5.1), and no request");
}

#[test]
fn a_file_without_certificates_is_a_mistake() {
    let settings = Settings {
        ca_file: Some(sample("server.key")),
        ..settings("localhost:1")
    };
    let error = AlibabaKms::new(settings, super::tests::environment()).err().unwrap();
    assert!(
        error.code() == "Kms.Endpoint" && error.to_string().contains("server.key"),
        "{error}"
    );
}
