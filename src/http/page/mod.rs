//! The web page: what a person sees of a fleet, made on the server from the same view that the API answers from.
//!
//! Every page is whole without JavaScript: filters and pages of lists are links, commands are forms, answered by a
//! redirect to the page that shows their effect. `page.js` reads a page again when the live feed says that it is out of
//! date, and puts what changed in its place. Markup is `maud`'s: checked by the compiler, and what comes from outside is
//! escaped. Nothing is fetched from elsewhere, and nothing is inline, so the content security policy can be strict.

pub mod address;
pub mod commands;
pub mod device;
pub mod fleet;
pub mod frame;
mod icons;
pub mod lists;
pub mod monitor;
pub mod refusal;
mod timeline;
mod words;
