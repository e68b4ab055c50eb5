//! Label values of requests: few, whatever a client sends.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use http::Method;

/// The path of a request that no route fits.
pub const UNMATCHED: &str = "<unmatched>";
/// What stands for everything beyond what has a label of its own.
pub const OTHER: &str = "<other>";
/// Templates that get a label. A route function that gives more has given raw paths.
const MOST_TEMPLATES: usize = 1_000;

/// The method, where it is one of RFC 9110 or PATCH (RFC 5789).
pub(super) fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::CONNECT => "CONNECT",
        Method::TRACE => "TRACE",
        Method::PATCH => "PATCH",
        _ => OTHER,
    }
}

/// The three digits of a status.
pub(super) fn status(status: u16, digits: &mut [u8; 3]) -> &str {
    let digit = |number: u16| b'0' + u8::try_from(number % 10).unwrap_or(0);
    *digits = [digit(status / 100), digit(status / 10), digit(status)];
    // Digits are text.
    std::str::from_utf8(digits).unwrap_or(OTHER)
}

/// The templates that were seen.
#[derive(Clone, Debug)]
pub(super) struct Templates {
    seen: Arc<RwLock<BTreeSet<Arc<str>>>>,
    unmatched: Arc<str>,
    other: Arc<str>,
}

impl Default for Templates {
    fn default() -> Self {
        Self { seen: Arc::default(), unmatched: UNMATCHED.into(), other: OTHER.into() }
    }
}

impl Templates {
    pub(super) fn label(&self, template: Option<&str>) -> Arc<str> {
        let Some(template) = template else { return self.unmatched.clone() };
        if let Some(known) = self.seen.read().unwrap_or_else(PoisonError::into_inner).get(template) {
            return known.clone();
        }
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MOST_TEMPLATES {
            return self.other.clone();
        }
        let new: Arc<str> = template.into();
        seen.insert(new.clone());
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_methods_are_one() {
        assert_eq!(method(&Method::PATCH), "PATCH");
        assert_eq!(method(&Method::from_bytes(b"BREW").unwrap()), OTHER);
        assert_eq!(
            method(&Method::from_bytes(b"get").unwrap()),
            OTHER,
            "methods are told apart by case (RFC 9110, 9.1)"
        );
    }

    #[test]
    fn a_status_has_three_digits() {
        assert_eq!(status(499, &mut [0; 3]), "499");
        assert_eq!(status(100, &mut [0; 3]), "100");
    }

    #[test]
    fn templates_without_end_become_one() {
        let templates = Templates::default();
        let labels: BTreeSet<_> = (0..10_000).map(|n| templates.label(Some(&format!("/raw/{n}")))).collect();
        assert_eq!(labels.len(), MOST_TEMPLATES + 1);
        assert_eq!(&*templates.label(Some("/raw/1")), "/raw/1");
        assert_eq!(&*templates.label(None), UNMATCHED);
    }
}
