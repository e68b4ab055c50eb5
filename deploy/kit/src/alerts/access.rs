//! Certificates and API keys.

use stemedb_metrics::catalog::Id as Node;

use super::thresholds::{CERTIFICATE_CRITICAL, CERTIFICATE_INFO, KEY_DAYS};
use super::{Alert, Fires, Severity, Silent};
use crate::names::node;

pub(super) fn alerts() -> Vec<Alert> {
    vec![certificate_expiring_soon(), certificate_expiring_in30_days(), api_key_rotation_due()]
}

fn certificate_expiring_soon() -> Alert {
    Alert {
        name: "CertificateExpiringSoon",
        severity: Severity::Critical,
        component: "api",
        subject: "certificate",
        expr: format!("{} - time() < {CERTIFICATE_CRITICAL} * 86400", node(Node::CertificateExpiry)),
        wait: "0s",
        keep: "0s",
        summary: "The certificate {{ $labels.certificate }} of {{ $labels.instance }} expires soon",
        description: "It expires in {{ $value | humanizeDuration }}. From then on no client connects.",
        fires: Fires {
            // 604,800 seconds are seven days; the test's clock begins at 0.
            series: &[(
                "stemedb_tls_certificate_expiry_timestamp_seconds{job=\"stemedb\", instance=\"a:18180\", certificate=\"edge\"}",
                "604860x20",
            )],
            not_yet: "1m",
            at: "1m30s",
            labels: &[("job", "stemedb"), ("instance", "a:18180"), ("certificate", "edge")],
            summary: "The certificate edge of a:18180 expires soon",
            description: "It expires in 6d 23h 59m 30s. From then on no client connects.",
        },
        silent: Silent {
            series: &[(
                "stemedb_tls_certificate_expiry_timestamp_seconds{job=\"stemedb\", instance=\"a:18180\", certificate=\"edge\"}",
                "604921x20",
            )],
            at: "2m",
        },
    }
}

fn certificate_expiring_in30_days() -> Alert {
    Alert {
        name: "CertificateExpiringIn30Days",
        severity: Severity::Info,
        component: "api",
        subject: "certificate",
        expr: format!("{} - time() < {CERTIFICATE_INFO} * 86400", node(Node::CertificateExpiry)),
        wait: "0s",
        keep: "0s",
        summary: "The certificate {{ $labels.certificate }} of {{ $labels.instance }} expires within 30 days",
        description: "It expires in {{ $value | humanizeDuration }}.",
        fires: Fires {
            // 2,592,000 seconds are 30 days; the test's clock begins at 0.
            series: &[(
                "stemedb_tls_certificate_expiry_timestamp_seconds{job=\"stemedb\", instance=\"a:18180\", certificate=\"edge\"}",
                "2592060x20",
            )],
            not_yet: "1m",
            at: "1m30s",
            labels: &[("job", "stemedb"), ("instance", "a:18180"), ("certificate", "edge")],
            summary: "The certificate edge of a:18180 expires within 30 days",
            description: "It expires in 29d 23h 59m 30s.",
        },
        silent: Silent {
            series: &[(
                "stemedb_tls_certificate_expiry_timestamp_seconds{job=\"stemedb\", instance=\"a:18180\", certificate=\"edge\"}",
                "2592121x20",
            )],
            at: "2m",
        },
    }
}

fn api_key_rotation_due() -> Alert {
    Alert {
        name: "APIKeyRotationDue",
        severity: Severity::Info,
        component: "api",
        subject: "api-key",
        expr: format!("time() - max by (job, key) ({}) > {KEY_DAYS} * 86400", node(Node::ApiKeyCreated)),
        wait: "0s",
        keep: "0s",
        summary: "The API key {{ $labels.key }} of {{ $labels.job }} is old",
        description: "It is {{ $value | humanizeDuration }} old; a new one should take its place every 90 days.",
        fires: Fires {
            // 7,776,000 seconds are 90 days; the test's clock begins at 0.
            series: &[(
                "stemedb_api_key_created_timestamp_seconds{job=\"stemedb\", instance=\"a:18180\", key=\"ops\"}",
                "-7775940x10",
            )],
            not_yet: "1m",
            at: "1m30s",
            labels: &[("job", "stemedb"), ("key", "ops")],
            summary: "The API key ops of stemedb is old",
            description: "It is 90d 0h 0m 30s old; a new one should take its place every 90 days.",
        },
        silent: Silent {
            series: &[(
                "stemedb_api_key_created_timestamp_seconds{job=\"stemedb\", instance=\"a:18180\", key=\"ops\"}",
                "-7775880x10",
            )],
            at: "2m",
        },
    }
}
