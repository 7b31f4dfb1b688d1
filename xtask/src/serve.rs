//! `cargo xtask serve`: from a clone to the page.

use anyhow::Result;

use crate::{
    setup,
    shell::{self, loud},
    web,
};

/// Builds the page where there is Node, then the program, sees to an adapter, and serves until it is interrupted.
pub(crate) fn run(flags: &[String]) -> Result<()> {
    match web::missing() {
        None => web::build()?,
        Some(missing) => {
            eprintln!("the page is not built, everything else is served: {missing}");
        }
    }
    shell::build()?;
    setup::adapter()?;
    loud(shell::taper()?.arg("serve").args(flags))
}
