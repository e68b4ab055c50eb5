//! What clients send, of which what cannot be read is an error of ours and in JSON.

use axum::extract::{FromRequest, FromRequestParts};
use serde::Deserialize;

use super::error::Error;
use crate::model::{Invalid, MAX_PAGE, check_id};

/// A body in JSON.
#[derive(FromRequest)]
#[from_request(via(axum::Json), rejection(Error))]
pub(super) struct Body<T>(pub(super) T);

/// Parts of the path.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(Error))]
pub(super) struct Path<T>(pub(super) T);

/// What follows the question mark.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(Error))]
pub(super) struct Query<T>(pub(super) T);

/// Which items of a list are wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    /// Those after this id.
    after: Option<String>,
    /// So many.
    limit: Option<usize>,
}

/// Items of a page where a client does not say.
const PAGE: usize = 100;

impl Page {
    /// After which id, and how many.
    pub(super) fn checked(&self) -> Result<(Option<&str>, usize), Invalid> {
        let limit = self.limit.unwrap_or(PAGE);
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(Invalid::new("limit", format!("must be 1 to {MAX_PAGE}")));
        }
        if let Some(after) = &self.after {
            check_id("after", after)?;
        }
        Ok((self.after.as_deref(), limit))
    }
}
