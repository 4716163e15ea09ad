//! Each source of credentials, against a small server that plays metadata service, STS and credentials URI.

use std::collections::HashMap;
use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::super::server::{Reply, Seen, Server};
use super::chain::{Provider, find};
use super::*;
use crate::kms::clock::FakeClock;
use crate::kms::signature::{Parameters, Rpc1};
use crate::kms::{Clock, KmsError};

/// An environment that tests can change, a home directory, a clock that they turn.
struct Scene {
    variables: Arc<Mutex<HashMap<String, OsString>>>,
    home: tempfile::TempDir,
    clock: Arc<FakeClock>,
    world: World,
}

impl Scene {
    fn new() -> Scene {
        let variables = Arc::<Mutex<HashMap<String, OsString>>>::default();
        let home = tempfile::tempdir().unwrap();
        variables.lock().insert("HOME".into(), home.path().into());
        let clock = FakeClock::new();
        let looked_up = variables.clone();
        let mut world = World::new(
            Arc::new(move |name: &str| looked_up.lock().get(name).cloned()),
            clock.clone(),
        );
        world.metadata = None;
        world.metadata_timeout = Duration::from_secs(5);
        Scene {
            variables,
            home,
            clock,
            world,
        }
    }

    fn set(&self, name: &str, value: &str) {
        self.variables.lock().insert(name.into(), value.into());
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.home.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn with_metadata(mut self, server: &Server) -> Scene {
        self.world.metadata = Some(server.url().parse().unwrap());
        self
    }

    fn find(&self) -> Result<(Provider, Credential), KmsError> {
        block_on(find(&self.world, None))
    }

    fn failure(&self) -> String {
        self.find().unwrap_err().to_string()
    }

    /// A credential as services write it, which lives for `seconds`.
    fn temporary(&self, id: &str, seconds: i64) -> String {
        temporary(id, self.clock.unix() + seconds)
    }
}

fn temporary(id: &str, expires: i64) -> String {
    let expires = crate::kms::api::time_text(expires);
    format!(
        r#"{{"Code":"Success","AccessKeyId":"{id}","AccessKeySecret":"s-{id}","SecurityToken":"t-{id}","Expiration":"{expires}"}}"#
    )
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(future)
}

fn form(seen: &Seen) -> Parameters {
    form_urlencoded::parse(seen.body.as_bytes()).into_owned().collect()
}

#[test]
fn environment_goes_first() {
    let scene = Scene::new();
    scene.write(
        ".aliyun/config.json",
        r#"{"profiles":[{"name":"default","mode":"AK","access_key_id":"f","access_key_secret":"s"}]}"#,
    );
    assert_eq!(scene.find().unwrap().0, Provider::CliProfile);
    scene.set("ALIBABA_CLOUD_ACCESS_KEY_ID", "i");
    scene.set("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "s");
    assert_eq!(
        scene.find().unwrap(),
        (Provider::Environment, Credential::new("i", "s", None))
    );
    scene.set("ALIBABA_CLOUD_SECURITY_TOKEN", "t");
    assert_eq!(scene.find().unwrap().1, Credential::new("i", "s", Some("t")));
    // Half of a pair is none.
    scene.set("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "");
    assert_eq!(scene.find().unwrap().0, Provider::CliProfile);
}

#[test]
fn profiles_by_name_place_and_switch() {
    let scene = Scene::new();
    scene.write(".aliyun/config.json", r#"{"current":"a","profiles":[{"name":"a","mode":"AK","access_key_id":"ja","access_key_secret":"s"},{"name":"b","mode":"AK","access_key_id":"jb","access_key_secret":"s"}]}"#);
    scene.write(
        ".alibabacloud/credentials",
        "[default]\ntype=access_key\naccess_key_id=go\naccess_key_secret=s\n",
    );
    let id = || scene.find().unwrap().1.id;
    assert_eq!(id(), "ja");
    scene.set("ALIBABA_CLOUD_PROFILE", "b");
    assert_eq!(id(), "jb");
    scene.set("ALIBABA_CLOUD_PROFILE", "");
    scene.set("ALIBABA_CLOUD_CLI_PROFILE_DISABLED", "true");
    assert_eq!(id(), "go");
    scene.write(
        ".alibabacloud/credentials.ini",
        "[default]\ntype=access_key\naccess_key_id=py\naccess_key_secret=s\n",
    );
    assert_eq!(id(), "py");
    scene.write("own", "[x]\ntype=access_key\naccess_key_id=own\naccess_key_secret=s\n");
    scene.set(
        "ALIBABA_CLOUD_CREDENTIALS_FILE",
        scene.home.path().join("own").to_str().unwrap(),
    );
    assert!(scene.failure().contains("\"default\""));
    scene.set("ALIBABA_CLOUD_PROFILE", "x");
    assert_eq!(id(), "own");
}

#[test]
fn an_oidc_token_becomes_a_role() {
    let scene = Scene::new();
    let body = format!(
        r#"{{"RequestId":"r","Credentials":{}}}"#,
        scene.temporary("STS.o", 3600)
    );
    let server = Server::start(move |_| Reply::Json(200, body.clone()));
    scene.write("token", "header.payload.signature\n");
    scene.set(
        "ALIBABA_CLOUD_OIDC_TOKEN_FILE",
        scene.home.path().join("token").to_str().unwrap(),
    );
    scene.set("ALIBABA_CLOUD_ROLE_ARN", "acs:ram::1:role/r");
    scene.set("ALIBABA_CLOUD_OIDC_PROVIDER_ARN", "acs:ram::1:oidc-provider/p");
    scene.set("ALIBABA_CLOUD_STS_ENDPOINT", &server.url());
    let (provider, credential) = scene.find().unwrap();
    assert_eq!((provider, credential.id.as_str()), (Provider::Oidc, "STS.o"));
    assert_eq!(credential.expires, Some(scene.clock.unix() + 3600));
    let seen = server.seen().remove(0);
    let parameters = form(&seen);
    // Unsigned, and the token in no URL.
    assert_eq!(
        (seen.method.as_str(), seen.path.as_str(), seen.query.iter().count()),
        ("POST", "/", 0)
    );
    assert_eq!(parameters.get("OIDCToken"), Some("header.payload.signature"));
    assert_eq!(parameters.get("Action"), Some("AssumeRoleWithOIDC"));
    assert_eq!(parameters.get("RoleSessionName"), Some("kmsfs"));
    assert_eq!(parameters.get("DurationSeconds"), Some("3600"));
    assert!(parameters.get("Signature").is_none() && parameters.get("AccessKeyId").is_none());
    std::fs::remove_file(scene.home.path().join("token")).unwrap();
    assert!(scene.failure().contains("there is no token file"));
}

#[test]
fn a_role_is_assumed_with_a_signed_request() {
    let scene = Scene::new();
    let body = format!(r#"{{"Credentials":{}}}"#, scene.temporary("STS.r", 900));
    let server = Server::start(move |_| Reply::Json(200, body.clone()));
    scene.set("ALIBABA_CLOUD_STS_ENDPOINT", &server.url());
    scene.write(".alibabacloud/credentials", "[default]\ntype=ram_role_arn\naccess_key_id=i\naccess_key_secret=testsecret\nrole_arn=a\nrole_session_name=n\npolicy={}\n");
    assert_eq!(scene.find().unwrap().1.id, "STS.r");
    let parameters = form(&server.seen()[0]);
    assert!(Rpc1::new("POST", &parameters).verify("testsecret", parameters.get("Signature").unwrap()));
    let expected = [
        ("Action", "AssumeRole"),
        ("RoleArn", "a"),
        ("RoleSessionName", "n"),
        ("Policy", "{}"),
        ("AccessKeyId", "i"),
    ];
    for (name, value) in expected {
        assert_eq!(parameters.get(name), Some(value));
    }
}

#[test]
fn what_sts_says_is_passed_on() {
    let scene = Scene::new();
    let reply = Arc::new(Mutex::new((
        403,
        r#"{"Code":"NoPermission","Message":"You are not allowed","RequestId":"r-7"}"#,
    )));
    let says = reply.clone();
    let server = Server::start(move |_| {
        let (status, body) = *says.lock();
        Reply::Json(status, body.into())
    });
    scene.set("ALIBABA_CLOUD_STS_ENDPOINT", &server.url());
    scene.write(
        ".alibabacloud/credentials",
        "[default]\ntype=ram_role_arn\naccess_key_id=i\naccess_key_secret=s\nrole_arn=acs:r\n",
    );
    let error = scene.find().unwrap_err();
    assert_eq!(error.code(), "Kms.NoCredentials");
    for part in ["acs:r", "You are not allowed", "NoPermission", "r-7"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    *reply.lock() = (503, "<html>");
    assert_eq!(scene.find().unwrap_err().code(), "Kms.CredentialsUnavailable");
    for body in [
        "",
        "{}",
        r#"{"Credentials":{}}"#,
        r#"{"Credentials":{"AccessKeyId":"a","AccessKeySecret":"SECRET","SecurityToken":"t"}}"#,
    ] {
        *reply.lock() = (200, body);
        let error = scene.find().unwrap_err().to_string();
        assert!(!error.contains("SECRET"), "{error}");
    }
}

/// A metadata service with one role; `hardened` refuses requests without a token.
fn metadata(body: String, hardened: bool) -> Server {
    Server::start(move |seen| {
        let token = seen.headers.get("x-aliyun-ecs-metadata-token") == Some("a-token");
        match (seen.method.as_str(), seen.path.as_str()) {
            ("PUT", "/latest/api/token") if hardened => Reply::Json(200, "a-token".into()),
            ("GET", _) if hardened && !token => Reply::Json(403, String::new()),
            ("GET", "/latest/meta-data/ram/security-credentials/") => Reply::Json(200, "the-role".into()),
            ("GET", "/latest/meta-data/ram/security-credentials/the-role") => Reply::Json(200, body.clone()),
            _ => Reply::Json(404, String::new()),
        }
    })
}

#[test]
fn an_instance_has_a_role_by_the_hardened_mode() {
    let scene = Scene::new();
    let server = metadata(scene.temporary("STS.e", 6 * 3600), true);
    let scene = scene.with_metadata(&server);
    assert_eq!(scene.find().unwrap().1.id, "STS.e");
    let seen = server.seen();
    assert_eq!(seen.len(), 3);
    assert_eq!(
        seen[0].headers.get("x-aliyun-ecs-metadata-token-ttl-seconds"),
        Some("21600")
    );
    // With a name, nobody has to be asked for it.
    scene.set("ALIBABA_CLOUD_ECS_METADATA", "the-role");
    assert_eq!(scene.find().unwrap().1.id, "STS.e");
    assert_eq!(server.seen().len(), 5);
    scene.set("ALIBABA_CLOUD_ECS_METADATA", "../user-data");
    assert!(scene.failure().contains("not the name of a role"));
    scene.set("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true");
    assert!(scene.failure().contains("none are configured"));
}

#[test]
fn without_tokens_only_where_that_is_not_forbidden() {
    let scene = Scene::new();
    let server = metadata(scene.temporary("STS.e", 3600), false);
    let scene = scene.with_metadata(&server);
    assert_eq!(scene.find().unwrap().1.id, "STS.e");
    scene.set("ALIBABA_CLOUD_IMDSV1_DISABLED", "true");
    assert!(scene.failure().contains("HTTP status 404 for a token"));
    let failing = metadata(r#"{"Code":"Failed"}"#.into(), false);
    let scene = Scene::new().with_metadata(&failing);
    assert!(scene.failure().contains("Failed"));
}

#[test]
fn a_credentials_uri_is_the_last() {
    let scene = Scene::new();
    let body = scene.temporary("STS.u", 3600);
    let server = Server::start(move |_| Reply::Json(200, body.clone()));
    scene.set("ALIBABA_CLOUD_CREDENTIALS_URI", &format!("{}/path?x=1", server.url()));
    assert_eq!(scene.find().unwrap().1.id, "STS.u");
    assert_eq!(server.seen()[0].path, "/path");
    scene.set("ALIBABA_CLOUD_CREDENTIALS_URI", "http://192.0.2.1/");
    assert!(scene.failure().contains("unencrypted"));
}

#[test]
fn a_failing_source_makes_way_and_is_named_when_none_is_left() {
    let scene = Scene::new();
    scene.write(".aliyun/config.json", "not json");
    scene.write(".alibabacloud/credentials", "[default]\ntype=rsa_key_pair\n");
    let failure = scene.failure();
    assert!(
        failure.contains("config.json") && failure.contains("rsa_key_pair"),
        "{failure}"
    );
    scene.write(
        ".alibabacloud/credentials",
        "[default]\ntype=access_key\naccess_key_id=i\naccess_key_secret=s\n",
    );
    assert_eq!(scene.find().unwrap().0, Provider::IniProfile);
}

/// A server of temporary credentials that counts them, and fails while it is told to.
fn counting(clock: Arc<FakeClock>, lives: i64, fails: Arc<Mutex<bool>>) -> Server {
    let count = AtomicUsize::new(0);
    Server::start(move |_| match *fails.lock() {
        true => Reply::Json(500, String::new()),
        false => {
            let id = format!("STS.{}", count.fetch_add(1, Ordering::SeqCst));
            Reply::Json(200, temporary(&id, clock.unix() + lives))
        }
    })
}

#[test]
fn one_credential_serves_all_until_it_ages_and_is_kept_while_it_lives() {
    let scene = Scene::new();
    let fails = Arc::new(Mutex::new(false));
    let server = counting(scene.clock.clone(), 3600, fails.clone());
    scene.set("ALIBABA_CLOUD_CREDENTIALS_URI", &server.url());
    scene.set("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true");
    let keeper = Keeper::new(scene.world.clone());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let id = || runtime.block_on(keeper.get()).map(|credential| credential.id.clone());
    let first: Vec<_> = (0..16)
        .map(|_| {
            runtime.spawn({
                let keeper = keeper.clone();
                async move { keeper.get().await.unwrap().id.clone() }
            })
        })
        .collect();
    for task in first {
        assert_eq!(runtime.block_on(task).unwrap(), "STS.0");
    }
    assert_eq!(server.seen().len(), 1, "one asked for all");
    // A quarter of an hour before its end it is renewed; while that fails, it goes on being used.
    *fails.lock() = true;
    scene.clock.advance(Duration::from_secs(2701));
    assert_eq!(id().unwrap(), "STS.0");
    while server.seen().len() < 2 {
        std::thread::yield_now();
    }
    assert_eq!(id().unwrap(), "STS.0");
    scene.clock.advance(Duration::from_secs(880));
    assert!(id().is_err(), "it is too old now");
    *fails.lock() = false;
    scene.clock.advance(Duration::from_secs(60));
    assert_eq!(id().unwrap(), "STS.1");
    scene.clock.advance(Duration::from_secs(2701));
    assert_eq!(id().unwrap(), "STS.1", "in the background");
    while id().unwrap() == "STS.1" {
        std::thread::yield_now();
    }
}

#[test]
fn what_the_kms_refuses_is_looked_for_again() {
    let scene = Scene::new();
    scene.set("ALIBABA_CLOUD_ACCESS_KEY_ID", "i");
    scene.set("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "s");
    let keeper = Keeper::new(scene.world.clone());
    block_on(async {
        let used = keeper.get().await.unwrap();
        assert!(!keeper.renew(&used).await, "there is no other");
        scene.set("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "another");
        assert!(keeper.renew(&used).await);
        assert_ne!(keeper.get().await.unwrap(), used);
        // Who comes later with the old one need not look.
        assert!(keeper.renew(&used).await);
    });
}

#[test]
fn secrets_cannot_be_printed() {
    let credential = Credential::new("id", "SECRET", Some("TOKEN"));
    let shown = format!("{credential:?} {:?}", recipe::Recipe::Given(credential.clone()));
    assert!(
        shown.contains("id") && !shown.contains("SECRET") && !shown.contains("TOKEN"),
        "{shown}"
    );
}
