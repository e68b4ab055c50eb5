//! Which route a request has taken.

use http::{Extensions, Uri};

/// Tells the template of a request's route: `/v1/vote/{id}`, never `/v1/vote/17`.
///
/// Implemented by functions; a route table with its own templates is borrowed from for the time of the request.
pub trait Route: Clone {
    /// `None` where no route fits.
    fn template<'r>(&self, extensions: &'r Extensions, uri: &'r Uri) -> Option<&'r str>;
}

impl<F> Route for F
where
    F: for<'r> Fn(&'r Extensions, &'r Uri) -> Option<&'r str> + Clone,
{
    fn template<'r>(&self, extensions: &'r Extensions, uri: &'r Uri) -> Option<&'r str> {
        self(extensions, uri)
    }
}

/// The route that axum's router has chosen.
#[cfg(feature = "axum")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Matched;

#[cfg(feature = "axum")]
impl Route for Matched {
    fn template<'r>(&self, extensions: &'r Extensions, _: &'r Uri) -> Option<&'r str> {
        extensions.get::<axum::extract::MatchedPath>().map(axum::extract::MatchedPath::as_str)
    }
}
