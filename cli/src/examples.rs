//! The examples in the help of each command. Each line fits a manual page of 80 columns.

pub(crate) const EXAMPLES: &str = "\
Examples:
  strongroom store --id report --key-out report.key report.pdf
  strongroom retrieve --id report --key-file report.key -o copy.pdf
  strongroom delete --id report --key-file report.key

  With an encryption server:
    strongroom store --server https://strongroom.example:8420 \\
      --token-file token --id report report.pdf

Exit status:
  0   success                       12   storage busy
  1   no such record                13   storage full
  2   record exists already         14   input or output failed
  3   wrong key                     15   outcome of the write unknown
  4   record corrupt                16   an earlier write failed
  5   invalid key                   19   invalid argument
  6   invalid id                    20   record expired
  7   unsupported                   21   access denied
  8   too large                     64   wrong usage
  9   index key mismatch            99   internal error
  10  index key missing             141  stdout was closed
  11  changed concurrently";

pub(crate) const STORE_EXAMPLES: &str = "\
Examples:
  Write the new key to a file before the data is stored:
    strongroom store --id report --key-out report.key report.pdf

  Store the output of another program, if it succeeds:
    strongroom store --id backup --key-out backup.key \\
      --from-command -- pg_dump app

  Store a record that expires after 12 hours, or at the end of a year:
    strongroom store --id session --expires-in 12h session.json
    strongroom store --id report --expires-at 2027-01-01 report.pdf

  A pipe hides the failure of the other program: incomplete data is
  stored. With `set -o pipefail` (bash, zsh) the script fails, but only
  after the data is stored:
    set -o pipefail
    pg_dump app | gzip | strongroom store --id backup --key-out backup.key

  Keep the printed key in a variable, and hide the id from other users
  of the machine, who can read arguments:
    key=$(printf %s \"$id\" | strongroom store --id-file - report.pdf)

  Make the key first, so that the command can be repeated after a lost
  connection:
    strongroom key new --key-out report.key
    strongroom store --id report --key-file report.key report.pdf

  Store files under their names, and keep their keys in a keyring:
    strongroom store --keyring keys --identity me.age *.pdf

  Store a folder; the next time, only changes are stored:
    strongroom store --keyring keys --identity me.age \\
      --recursive --id-prefix photos ~/photos";

pub(crate) const RETRIEVE_EXAMPLES: &str = "\
Examples:
  strongroom retrieve --id report --key-file report.key -o report.pdf
  strongroom retrieve --id backup --key-file backup.key | psql app
  printf '%s\\n' \"$key\" | strongroom retrieve --id note --key-file -

  The first 1,024 bytes, and all after the first million bytes:
    strongroom retrieve --id video --key-file video.key --range 0..1024
    strongroom retrieve --id video --key-file video.key \\
      --range 1000000.. -o rest

  With the key in a keyring:
    strongroom retrieve --keyring keys --identity me.age --id a.pdf

  A folder that was stored with --recursive:
    strongroom retrieve --keyring keys --identity me.age \\
      --recursive --id-prefix photos -o restored";

pub(crate) const REPLACE_EXAMPLES: &str = "\
Examples:
  strongroom replace --id report --key-file report.key \\
    --key-out report-2.key report-2.pdf

  The new version expires after two weeks:
    strongroom replace --id session --key-file old.key \\
      --key-out new.key --expires-in 2w session.json

  Store the output of another program, if it succeeds (a pipe hides its
  failure: see `strongroom store --help`):
    strongroom replace --id backup --key-file old.key --key-out new.key \\
      --from-command -- pg_dump app";

pub(crate) const TAKE_EXAMPLES: &str = "\
Examples:
  strongroom take --id invitation --key-file invitation.key
  strongroom take --id report --key-file report.key -o report.pdf";

pub(crate) const REKEY_EXAMPLES: &str = "\
Examples:
  strongroom rekey --id report --key-file old.key --key-out new.key

  The record expires after two weeks:
    strongroom rekey --id report --key-file old.key \\
      --key-out new.key --expires-in 2w";

pub(crate) const CONTAINS_EXAMPLES: &str = "\
Examples:
  strongroom contains --id report

  In a script:
    if strongroom contains --id report > /dev/null; then echo yes; fi";

pub(crate) const DELETE_EXAMPLES: &str = "\
Examples:
  strongroom delete --id report --key-file report.key";

pub(crate) const ERASE_EXAMPLES: &str = "\
Examples:
  Ask for confirmation on the terminal:
    strongroom erase --id report

  In a script:
    strongroom erase --id report --yes";

pub(crate) const RETAIN_EXAMPLES: &str = "\
Examples:
  Count the records that a database of your own no longer names, and then
  erase them:
    psql -tAc 'SELECT id FROM documents' > ids
    strongroom retain --ids ids
    strongroom retain --ids ids --yes

  With the ids of several namespaces:
    psql -tAc \"SELECT json_build_object('namespace', tenant, 'id', id)
      FROM documents\" | strongroom retain --ids - --format json --yes

  Keep the records whose keys are in a keyring:
    strongroom keyring list --keyring keys --identity me.age \\
      --all-namespaces | strongroom retain --ids - --format json";

pub(crate) const PURGE_EXAMPLES: &str = "\
Examples:
  strongroom purge
  strongroom purge --store /srv/app/records.db --limit 100000 --json";

pub(crate) const MAINTAIN_EXAMPLES: &str = "\
Examples:
  strongroom maintain --store s3://bucket/records";

pub(crate) const COMPACT_EXAMPLES: &str = "\
Examples:
  strongroom compact --store /srv/app/records.db";

pub(crate) const VERIFY_EXAMPLES: &str = "\
Examples:
  strongroom verify --store /srv/app/records.db

  Beside a busy service, with a line of JSON for each damage:
    strongroom verify --store /srv/app/records.db --rate 50M --json

  Restore damaged records from a backup:
    strongroom verify --store /srv/app/records.db \\
      --repair-from /backup/records-2026-11-25.db";

pub(crate) const COPY_EXAMPLES: &str = "\
Examples:
  Back up a store in use; the next time, only changes are copied:
    strongroom copy --store /srv/app/records.db --to /backup/records.db

  The same, without the records that were removed since:
    strongroom copy --store /srv/app/records.db --to /backup/records.db \\
      --mirror

  Move the records to a storage service:
    strongroom copy --store /srv/app/records.db \\
      --to https://storage.example:8421 --to-token-file token

  Move them to PostgreSQL:
    strongroom copy --store /srv/app/records.db \\
      --to postgres://app@db.example/records";

pub(crate) const MIGRATE_EXAMPLES: &str = "\
Examples:
  Create the tables as their owner, for a service with the role app:
    strongroom migrate --store postgres://owner@db.example/records --role app";

pub(crate) const STATS_EXAMPLES: &str = "\
Examples:
  strongroom stats
  strongroom stats --store /srv/app/records.db --json";

#[cfg(feature = "server")]
pub(crate) const NODES_EXAMPLES: &str = "\
Examples:
  strongroom nodes --server https://one.example:8420 --token-file token
  strongroom nodes --store http://127.0.0.1:8421 --json";

pub(crate) const KEYRING_NEW_EXAMPLES: &str = "\
Examples:
  For a new identity, and for another one that lies in a safe:
    strongroom keyring new --keyring keys --new-identity me.age \\
      --recipient age1...

  Under a passphrase that a password manager keeps:
    strongroom keyring new --keyring keys \\
      --passphrase-command 'pass show records'";

pub(crate) const KEYRING_LIST_EXAMPLES: &str = "\
Examples:
  strongroom keyring list --keyring keys --identity me.age

  Move all records of the default namespace to a new index key:
    strongroom keyring list --keyring keys --identity me.age --format json |
      strongroom index-key rotate --new new.key --ids - --format json";

pub(crate) const KEYRING_ADD_EXAMPLES: &str = "\
Examples:
  strongroom keyring add --keyring keys --identity me.age --id report \\
    --key-file report.key";

pub(crate) const KEYRING_REMOVE_EXAMPLES: &str = "\
Examples:
  strongroom keyring remove --keyring keys --identity me.age --id report";

pub(crate) const KEYRING_EXPORT_EXAMPLES: &str = "\
Examples:
  strongroom keyring export --keyring keys --identity me.age --id report \\
    --key-out report.key";

pub(crate) const KEYRING_ROTATE_EXAMPLES: &str = "\
Examples:
  strongroom keyring rotate --keyring keys --identity old.age \\
    --recipient $(age-keygen -y new.age)

  From one passphrase to another:
    strongroom keyring rotate --keyring keys --passphrase-file old \\
      --new-passphrase-command 'pass show records'";

pub(crate) const INDEX_KEY_ROTATE_EXAMPLES: &str = "\
Examples:
  strongroom key new --index --key-out new-index.key
  strongroom index-key rotate --new new-index.key --ids ids.txt

  The ids from a database of your own, as JSON:
    psql -tAc 'SELECT json_agg(id) FROM users' |
      strongroom index-key rotate --new new-index.key --ids - --format json";

pub(crate) const INDEX_KEY_STATUS_EXAMPLES: &str = "\
Examples:
  strongroom index-key status --index-key-file new-index.key \\
    --previous-index-key-file old-index.key";

pub(crate) const KEY_NEW_EXAMPLES: &str = "\
Examples:
  A record key for a later `store --key-file`:
    strongroom key new --key-out report.key

  An index key, kept apart from the database:
    strongroom key new --index --key-out /etc/app/index.key
    strongroom store --store new.db --index-key-file /etc/app/index.key \\
      --id report report.pdf

  A cluster key, the same for all services of a cluster:
    strongroom key new --cluster --key-out /etc/strongroom/cluster.key";

pub(crate) const HEALTH_EXAMPLES: &str = "\
Examples:
  strongroom health http://127.0.0.1:8424
  strongroom health unix:/run/strongroom/strongroom.sock --timeout 1";

#[cfg(feature = "server")]
pub(crate) const CERTIFICATE_NEW_EXAMPLES: &str = "\
Examples:
  An authority, whose key belongs in a safe:
    strongroom certificate new --out authority

  Certificates of a service and of a client, for 90 days:
    strongroom certificate new --authority authority.pem \\
      --authority-key authority.key --name strongroom.example --out server
    strongroom certificate new --authority authority.pem \\
      --authority-key authority.key --name app.example --client --out app";

pub(crate) const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  strongroom completions fish > ~/.config/fish/completions/strongroom.fish
  strongroom completions bash \\
    > ~/.local/share/bash-completion/completions/strongroom";

pub(crate) const MAN_EXAMPLES: &str = "\
Examples:
  strongroom man ~/.local/share/man/man1";
