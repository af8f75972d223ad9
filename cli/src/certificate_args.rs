//! The command line of certificates.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueHint};

use crate::arg_path::path;
use crate::{examples, times};

#[derive(Subcommand)]
pub(crate) enum CertificateCommand {
    /// Make a private authority, or a certificate of one, with its private key
    ///
    /// Without --authority, it makes an authority: keep its key apart from the services. With --authority, it makes the
    /// certificate of a service, or with --client that of a client. The files are PATH.pem and PATH.key, readable only
    /// by you; existing files are never overwritten.
    #[command(after_help = examples::CERTIFICATE_NEW_EXAMPLES)]
    New(NewCertificate),
}

#[derive(Args)]
pub(crate) struct NewCertificate {
    /// The path of the new files, without .pem and .key
    #[arg(long, value_name = "PATH", value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) out: PathBuf,
    /// A DNS name (*.example matches all with one label more) or an IP address of the service or the client; may be
    /// repeated. For an authority, its name
    #[arg(long = "name", value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// The certificate of the authority, made by this command
    #[arg(long, value_name = "PATH", value_parser = path(), value_hint = ValueHint::FilePath)]
    #[arg(requires_all = ["authority_key", "names"])]
    pub(crate) authority: Option<PathBuf>,
    /// The private key of the authority
    #[arg(long, value_name = "PATH", value_parser = path(), value_hint = ValueHint::FilePath, requires = "authority")]
    pub(crate) authority_key: Option<PathBuf>,
    /// Make the certificate of a client, not that of a service
    #[arg(long, requires = "authority")]
    pub(crate) client: bool,
    /// How long the certificate is valid, such as 90d or 52w [default: 90d, for an authority 520w]
    #[arg(long, value_name = "DURATION", value_parser = times::duration)]
    pub(crate) valid_for: Option<Duration>,
}
