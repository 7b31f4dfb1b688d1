//! `taper serve`: the page and the API.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;

use super::out::print_json_pretty;
use crate::api;
use crate::failure::failure;

/// The arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Address and port; port 0 takes a free one. Any other than this machine's own needs a token.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7878")]
    bind: SocketAddr,
    /// Directory for runs, uploads and the store.
    #[arg(long, value_name = "DIR", default_value = "taper-data")]
    data_dir: PathBuf,
    /// A data set that configurations may name, as dataset:NAME.
    #[arg(long, value_name = "NAME=PATH")]
    data: Vec<String>,
    /// A name that this server is reached by, as behind a proxy, with its port if that is another one. Then it wants its token.
    #[arg(long, value_name = "NAME[:PORT]")]
    allow_host: Vec<String>,
    /// Ask for no token, also behind a proxy that --allow-host names; only where nobody else can reach the port itself.
    #[arg(long)]
    no_token: bool,
    /// Print the OpenAPI document and end.
    #[arg(long, hide = true)]
    openapi: bool,
}

pub(super) fn run(arguments: Arguments) -> Result<()> {
    if arguments.openapi {
        return print_json_pretty(&api::openapi());
    }
    if arguments.no_token && !arguments.bind.ip().is_loopback() {
        return Err(failure(
            format!(
                "--no-token would let everybody who reaches {} train and delete",
                arguments.bind
            ),
            "leave it out and use the token that is printed, or bind 127.0.0.1",
        ));
    }
    api::serve(api::Options {
        bind: arguments.bind,
        data_dir: arguments.data_dir,
        data: arguments.data,
        hosts: arguments.allow_host,
        no_token: arguments.no_token,
    })
}
