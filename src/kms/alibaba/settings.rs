//! How the client reaches the KMS, and how hard it tries.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How the client reaches the KMS, and how hard it tries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The region, as `cn-hangzhou`. Needed unless there is an endpoint.
    pub region: Option<String>,
    /// The address, where it is not the region's own: a host name, or a URL.
    pub endpoint: Option<String>,
    /// Over which network the region's own address is reached.
    pub network: Network,
    /// Certificates that alone are trusted, as PEM; none for those that the system trusts.
    pub ca_file: Option<PathBuf>,
    /// How requests are signed.
    pub signature: Signature,
    /// Most requests per second; 0 for no limit.
    pub rate: u32,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long one try may take, from its first byte to the last of the answer.
    pub answer_timeout: Duration,
    /// How long a call may take, with all tries and pauses.
    pub deadline: Duration,
}

/// Over which network a region's own address is reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// `kms.REGION.aliyuncs.com`
    #[default]
    Public,
    /// `kms-vpc.REGION.aliyuncs.com`
    Vpc,
}

/// How requests are signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Signature {
    /// Version 3, ACS3-HMAC-SHA256: also covers the host, so that nobody can pass a request on to another.
    #[default]
    V3,
    /// Version 1, HMAC-SHA1: for services that know no other.
    V1,
}
