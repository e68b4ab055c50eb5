//! Certificates that the node watches, as those of the load balancer in front of it: when each expires.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::SystemTime;

use anyhow::{Context as _, Result, anyhow};
use stemedb_metrics::Metrics;
use x509_cert::Certificate;
use x509_cert::der::DecodePem as _;

use stemedb_node::model::check_id;

/// A certificate by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Watched {
    name: String,
    file: PathBuf,
}

impl fmt::Display for Watched {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}={}", self.name, self.file.display())
    }
}

impl FromStr for Watched {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, file) = text.split_once('=').ok_or("must be NAME=FILE")?;
        check_id("the name", name).map_err(|error| error.to_string())?;
        Ok(Self { name: name.to_owned(), file: file.into() })
    }
}

impl Watched {
    /// Reads it anew, and tells when it expires. Of one that cannot be read, what was known stays.
    pub(crate) fn measure(&self, metrics: &Metrics) -> Result<()> {
        let expires = expiry(&self.file).with_context(|| format!("the certificate {}", self.name))?;
        metrics.domain.certificate(&self.name, expires);
        Ok(())
    }
}

/// When the first certificate in a PEM file expires: in a chain, that is the server's own (RFC 8446, 4.4.2).
fn expiry(file: &Path) -> Result<SystemTime> {
    let pem = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let all = Certificate::load_pem_chain(&pem).or_else(|_| Certificate::from_pem(&pem).map(|one| vec![one]));
    let all = all.map_err(|error| anyhow!("{} is no certificate in PEM: {error}", file.display()))?;
    let first = all.first().with_context(|| format!("there is no certificate in {}", file.display()))?;
    Ok(first.tbs_certificate().validity().not_after.to_system_time())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    /// Of `openssl ca -selfsign -enddate 20300102030405Z`, with a key that is no more.
    const PEM: &str = include_str!("../fixtures/expires-2030-01-02.pem");

    #[test]
    fn the_first_of_a_chain_tells_when_it_expires() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("chain.pem");
        std::fs::write(&file, PEM.repeat(2)).unwrap();
        assert_eq!(expiry(&file).unwrap(), UNIX_EPOCH + Duration::from_secs(1_893_553_445));
        let metrics = Metrics::new().unwrap();
        let watched: Watched = format!("edge={}", file.display()).parse().unwrap();
        watched.measure(&metrics).unwrap();
        let line = "stemedb_tls_certificate_expiry_timestamp_seconds{certificate=\"edge\"} 1893553445\n";
        assert!(metrics.text().contains(line));
        std::fs::write(&file, "nothing").unwrap();
        let error = format!("{:#}", watched.measure(&metrics).unwrap_err());
        assert!(error.starts_with("the certificate edge: ") && error.contains("no certificate in PEM"), "{error}");
        assert!(metrics.text().contains(line), "what was known stays");
        std::fs::remove_file(&file).unwrap();
        assert!(format!("{:#}", watched.measure(&metrics).unwrap_err()).contains("cannot read"));
        assert!("edge".parse::<Watched>().is_err() && "e/e=x".parse::<Watched>().is_err());
    }
}
