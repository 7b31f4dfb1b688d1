//! `cargo xtask serve`: from a clone to the page.

use anyhow::Result;

use crate::{
    setup,
    shell::{self, loud},
    web,
};

/// Builds the page where there is Node, then the program, sees to an adapter, and serves until it is interrupted.
pub(crate) fn run(flags: &[String]) -> Result<()> {
    if web::there() {
        web::build()?;
    } else {
        eprintln!("the page is not built, as there is no Node; everything else is served");
    }
    shell::build()?;
    setup::adapter()?;
    loud(shell::taper()?.arg("serve").args(flags))
}
