//! What `--help` says, and that the documents say the same as the program.

use std::collections::BTreeSet;
use std::fs;

use crate::assert_session;
use crate::harness::{Home, root};

#[test]
#[expect(clippy::too_many_lines, reason = "it holds the whole manual")]
fn help_reads_well() {
    let home = Home::new();
    assert_session!(home.session(&["--help"]), @"
    exit 0
    --- stdout
    From a recipe to a verified running node.

    Release engineers build, sign and publish images as plain files; operators fetch them, verify every
    byte against a pinned key, and load them into Docker.

    Usage: imgforge [OPTIONS] <COMMAND>

    Commands:
      init         Begin a project here: recipes with a small service, configuration, CI workflow;
                   builds at once
      recipe       List, check, resolve and render recipes
      plan         Show what a build would do, with nothing left to decide; touches nothing
      build        Build images from recipes, through BuildKit
      export       Write built images as plain .tar.gz files that any `docker load` reads
      inspect      Show what an archive holds: image, layers, directories, members, papers
      cat          Print one file of an archive's image
      diff         Compare the files of two archives' images, and say what a fetch of the newer one
                   would cost
      delta        Show which bytes of an archive a machine lacks that has others: older versions, other
                   tiers
      keys         Make, import and show signing keys, in cosign's format
      sign         Sign exported archives: writes a sealed release, SHA256SUMS and its signature beside
                   them
      attest       State what images are, signed: SBOMs, and where they come from (SLSA provenance)
      verify       Verify archives offline, against the release that they carry
      release      Build, pack, sign and publish a version, then move the channel to it
      releases     List what a store has, and which channels lead there
      link         Make a link that anybody may download an archive with, for a while
      push         Push built images to an OCI registry, signed so that `cosign verify --key` accepts
                   them
      mirror       Copy a verified release to another store, such as a folder on a USB stick
      prune        Remove releases that nobody needs any more, and what killed publications left
      sbom         List the packages in images: those that were built here, and those in archives
      scan         Look for known vulnerabilities in images that were built, and refuse those that are
                   too bad
      channel      Look at channels, point one to another version, renew them before they expire
      yank         Withdraw a published version: operators refuse it from then on, with exit code 15
      fetch        Download an image, verify every byte, and load it into Docker
      trust        Pin the projects whose images this machine may load; hand over to other keys
      cache        Archives that were fetched before
      doctor       Look at this machine: engine, builders, stores, disks, clock, certificates, keys;
                   says what to type
      completions  Print completions for a shell
      man          Print the manual page, or write one for each command
      help         Print this message or the help of the given subcommand(s)

    Options:
      -h, --help
              Print help (see a summary with '-h')

      -V, --version
              Print version

    Options of every command:
          --json
              Print one JSON object to stdout instead of words

      -q, --quiet
              Print nothing but results and errors

          --progress-fd <N>
              Write progress to this open file descriptor too, a JSON object a line

    Release engineers:  imgforge init
                        imgforge keys generate
                        imgforge build app
                        imgforge release app --version 1.0.0
    Operators:          imgforge trust add noderr --key cosign.pub --from /media/usb
                        imgforge fetch --verify oracle

    `imgforge doctor` says what is missing on this machine. Exit codes are documented in
    docs/exit-codes.md.
    ");
    assert_session!(home.session(&["build", "--help"]), @"
    exit 0
    --- stdout
    Build images from recipes, through BuildKit

    Uses the builder of `--builder`, else the BuildKit at `BUILDKIT_HOST`, else the builders that
    `imgforge.toml` names, else the BuildKit inside the Docker Engine at `DOCKER_HOST` (by default
    `unix:///var/run/docker.sock`, or where the `docker` command's context leads). Several tiers are
    built side by side. Images land in the local content store; `imgforge export` makes files of them.

    Usage: imgforge build [OPTIONS] <TIER>...

    Arguments:
      <TIER>...
              Which images

    Options:
          --recipes <DIR>
              Folder with `project.toml` and a file for each tier [default: the only one in `recipes/`]
              
              [env: IMGFORGE_RECIPES=]

          --version <V>
              Version of the image [default: the project's]

          --platform <OS/ARCH>
              Platform of the image [default: the first of the project's]

          --environment <NAME>
              Lay the values of one of the project's environments over the recipe

          --build-arg <NAME=VALUE>
              Replace the default of a build argument

          --builder <NAME-OR-URL>
              Build there: a name from `imgforge.toml`, or an address such as `tcp://host:1234`,
              `ssh://host`, `docker-container://NAME` or `buildx://NAME`

          --secret <id=ID,src=FILE>
              Give a file to the steps that ask for this secret

          --cache-from <CACHE>
              Take results of steps from a cache: an image REF, or `type=local,src=DIR`

          --cache-to <CACHE>
              Keep results of steps: `type=local,dest=DIR`, `type=registry,ref=REF` or
              `type=inline,ref=REF`; `{tier}` in REF stands for the tier

          --fresh-base
              Make the Debian base again, with today's updates

          --load
              Also load the image into the Docker Engine, to try it out

          --check
              Build twice, running every step, and fail where the two images differ

          --locked
              Fail unless everything that is downloaded is pinned in `imgforge.lock`

      -h, --help
              Print help (see a summary with '-h')

    Options of every command:
          --json
              Print one JSON object to stdout instead of words

      -q, --quiet
              Print nothing but results and errors

          --progress-fd <N>
              Write progress to this open file descriptor too, a JSON object a line
    ");
    assert_session!(home.session(&["export", "--help"]), @"
    exit 0
    --- stdout
    Write built images as plain .tar.gz files that any `docker load` reads

    The same image always gives the same bytes.

    Usage: imgforge export [OPTIONS] <TIER>...

    Arguments:
      <TIER>...
              Which images; build them first

    Options:
      -o, --output <DIR>
              Folder to write to
              
              [default: dist]

          --recipes <DIR>
              Folder with `project.toml` and a file for each tier [default: the only one in `recipes/`]
              
              [env: IMGFORGE_RECIPES=]

          --version <V>
              Version of the image [default: the project's]

          --platform <OS/ARCH>
              Platform of the image [default: the first of the project's]

      -h, --help
              Print help (see a summary with '-h')

    Options of every command:
          --json
              Print one JSON object to stdout instead of words

      -q, --quiet
              Print nothing but results and errors

          --progress-fd <N>
              Write progress to this open file descriptor too, a JSON object a line
    ");
    assert_session!(home.session(&["sign", "--help"]), @"
    exit 0
    --- stdout
    Sign exported archives: writes a sealed release, SHA256SUMS and its signature beside them

    Usage: imgforge sign [OPTIONS] <FILE>...

    Arguments:
      <FILE>...  Archives of one version in one folder; with `--detached`, any files

    Options:
          --detached              Only write `FILE.sig` beside each file, which openssl and `cosign
                                  verify-blob` check
          --key <FILE>            The private key [default: keys/cosign.key]
          --password-file <FILE>  File with the password; a final line break does not count
          --recipes <DIR>         Folder with `project.toml` and a file for each tier [default: the only
                                  one in `recipes/`] [env: IMGFORGE_RECIPES=]
      -h, --help                  Print help

    Options of every command:
          --json             Print one JSON object to stdout instead of words
      -q, --quiet            Print nothing but results and errors
          --progress-fd <N>  Write progress to this open file descriptor too, a JSON object a line
    ");
    assert_session!(home.session(&["scan", "--help"]), @"
    exit 0
    --- stdout
    Look for known vulnerabilities in images that were built, and refuse those that are too bad

    Compares the packages of an image with data of osv.dev or of Debian's security tracker that you have
    downloaded; nothing is fetched unless `--db` is an address. Ends with code 3 when a vulnerability is
    as bad as `--fail-on` or worse, or nobody decided how bad it is, and imgforge.toml does not except
    it.

    Usage: imgforge scan [OPTIONS] <TIER[@V]|ARCHIVE>...

    Arguments:
      <TIER[@V]|ARCHIVE>...
              Images that were built, and archives

    Options:
          --db <FILE|URL>
              Data about vulnerabilities: a zip, a folder or a file of OSV records, the JSON of Debian's
              tracker, or an address of one of these. May be repeated [default: `db` below `[scan]` in
              imgforge.toml]

          --fail-on <SEVERITY>
              From which severity on a vulnerability stops an image: critical, high, medium or low
              [default: `fail-on` below `[scan]` in imgforge.toml, else high]

          --recipes <DIR>
              Folder with `project.toml` and a file for each tier [default: the only one in `recipes/`]
              
              [env: IMGFORGE_RECIPES=]

      -h, --help
              Print help (see a summary with '-h')

    Options of every command:
          --json
              Print one JSON object to stdout instead of words

      -q, --quiet
              Print nothing but results and errors

          --progress-fd <N>
              Write progress to this open file descriptor too, a JSON object a line
    ");
    assert_session!(home.session(&["verify", "--help"]), @"
    exit 0
    --- stdout
    Verify archives offline, against the release that they carry

    Checks the signature of the release, then every byte of the archive, then that it holds the very
    image that the release describes. Never opens a socket.

    Usage: imgforge verify [OPTIONS] <FILE|DIR>

    Arguments:
      <FILE|DIR>
              An archive, or a folder with a release

    Options:
          --key <FILE>
              The public key to trust [default: the project pinned with `imgforge trust add`]

          --channel <NAME>
              The channel that says whether the release is current, if its file is there [default:
              stable]

          --max-age <DURATION>
              Believe a channel that was signed at most so long ago, such as 45d, and not until it
              expires

      -h, --help
              Print help (see a summary with '-h')

    Options of every command:
          --json
              Print one JSON object to stdout instead of words

      -q, --quiet
              Print nothing but results and errors

          --progress-fd <N>
              Write progress to this open file descriptor too, a JSON object a line
    ");
    assert_session!(home.session(&["release", "--help"]), @"
    exit 0
    --- stdout
    Build, pack, sign and publish a version, then move the channel to it

    The channel moves last, after everything was read back from the store and verified. Running it again
    is harmless: what was published stays, and a version never changes its content.

    Usage: imgforge release [OPTIONS] --version <V> <TIER>...

    Arguments:
      <TIER>...
              Which images

    Options:
          --platform <OS/ARCH>
              Publish for this platform only. May be repeated [default: all that the project has]

          --version <V>
              The version, such as 1.4.0

          --channel <NAME>
              The channel that will point to this version
              
              [default: stable]

          --store <STORE>
              Where releases live: `s3://BUCKET/PREFIX`, or a folder, such as a mounted disk or a web
              server's root [default: `address` below `[store]` in imgforge.toml, else dist/store]
              
              [env: IMGFORGE_STORE=]

          --dry-run
              Build and pack, and show what would be published; nothing is written to the store

          --patch-from <V>
              Also publish patches from this version: operators who have it fetch less. May be repeated

      -o, --output <DIR>
              Folder for the packed archives
              
              [default: dist]

          --key <FILE>
              The private key
              
              [default: keys/cosign.key]

          --password-file <FILE>
              File with the password; a final line break does not count

          --channel-key <FILE>
              The private key that seals the channel [default: the same key]

          --pinned <FILE>
              The public key that operators pinned first, if keys were rotated since [default: the one
              pinned on this machine, else the signing key's own]

          --recipes <DIR>
              Folder with `project.toml` and a file for each tier [default: the only one in `recipes/`]
              
              [env: IMGFORGE_RECIPES=]

          --build-arg <NAME=VALUE>
              Replace the default of a build argument

          --builder <NAME-OR-URL>
              Build there: a name from `imgforge.toml`, or an address such as `tcp://host:1234`,
              `ssh://host`, `docker-container://NAME` or `buildx://NAME`

          --secret <id=ID,src=FILE>
              Give a file to the steps that ask for this secret

          --cache-from <CACHE>
              Take results of steps from a cache: an image REF, or `type=local,src=DIR`

          --cache-to <CACHE>
              Keep results of steps: `type=local,dest=DIR`, `type=registry,ref=REF` or
              `type=inline,ref=REF`; `{tier}` in REF stands for the tier

          --fresh-base
              Make the Debian base again, with today's updates

          --allow-unlocked
              Publish what `imgforge.lock` does not pin, and nobody can build again

      -h, --help
              Print help (see a summary with '-h')

    Options of every command:
          --json
              Print one JSON object to stdout instead of words

      -q, --quiet
              Print nothing but results and errors

          --progress-fd <N>
              Write progress to this open file descriptor too, a JSON object a line
    ");
    assert_session!(home.session(&["fetch", "--help"]), @"
    exit 0
    --- stdout
    Download an image, verify every byte, and load it into Docker

    Signatures and bytes are always verified, before Docker sees anything. Only what is missing is
    downloaded: what older versions, other tiers or an interrupted fetch left here is used. With
    --verify the engine is asked afterwards what it has: image ID, layers and platform must be the
    signed ones, and a container is created from the image and removed. Nothing is started.

    Usage: imgforge fetch [OPTIONS] <[PROJECT/]TIER[@VERSION]|URL|FILE>

    Arguments:
      <[PROJECT/]TIER[@VERSION]|URL|FILE>
              Which image: TIER, TIER@VERSION or PROJECT/TIER; or a link to an archive, or a file; or
              `oci://HOST/PATH:TAG`, an image of a registry that the project's key signed

    Options:
          --verify
              Also prove that what Docker has is what was signed

          --channel <NAME>
              The channel to follow; with @VERSION, the one that is asked whether it was withdrawn
              [default: stable]

          --from <STORE>
              Where releases live; several are asked in turn [default: where the pinned project says]

          --url <LINK>
              A link to the very archive, for a store that cannot be read otherwise

          --key <FILE>
              The public key to trust [default: the project pinned with `imgforge trust add`]

          --max-age <DURATION>
              Believe a channel that was signed at most so long ago, such as 45d, and not until it
              expires

          --platform <OS/ARCH>
              Platform of the image [default: this machine's]

          --replace
              Let the image take its tag from another one

          --no-load
              Keep the archive in the cache, and do not load it

      -o, --output <FILE>
              Write the verified archive to a file, and do not load it

          --pipe
              Write the verified image to standard output, for `docker load`, and do not load it

          --seed <FILE|DIR>
              An archive, or a folder of them, that may have parts of this one: nothing of it is trusted

          --connections <NUMBER>
              Connections to the store [default: 4, and up to 16 if that is faster]

          --limit-rate <RATE>
              Bytes a second at most, such as 500k or 2M

      -h, --help
              Print help (see a summary with '-h')

    Options of every command:
          --json
              Print one JSON object to stdout instead of words

      -q, --quiet
              Print nothing but results and errors

          --progress-fd <N>
              Write progress to this open file descriptor too, a JSON object a line
    ");
    assert_session!(home.session(&["keys", "--help"]), @"
    exit 0
    --- stdout
    Make, import and show signing keys, in cosign's format

    Usage: imgforge keys [OPTIONS] <COMMAND>

    Commands:
      generate  Make an ECDSA P-256 key pair; the private half is encrypted with a password
      import    Take over a private key: PKCS#8, SEC1 or RSA PEM, or one that cosign encrypted
      show      Show what a key is, and the fingerprint that people compare
      public    Print the public key of a private key
      help      Print this message or the help of the given subcommand(s)

    Options:
      -h, --help  Print help

    Options of every command:
          --json             Print one JSON object to stdout instead of words
      -q, --quiet            Print nothing but results and errors
          --progress-fd <N>  Write progress to this open file descriptor too, a JSON object a line
    ");
    assert_session!(home.session(&["keys", "import", "--help"]), @"
    exit 0
    --- stdout
    Take over a private key: PKCS#8, SEC1 or RSA PEM, or one that cosign encrypted

    Usage: imgforge keys import [OPTIONS] <FILE>

    Arguments:
      <FILE>  The private key

    Options:
          --source-password-file <FILE>  Password of an encrypted source, in a file [default: the new
                                         key's password]
          --output <DIR>                 Folder for the key pair [default: keys]
          --name <NAME>                  Name of the two files: NAME.key and NAME.pub [default: cosign]
          --password-file <FILE>         File with the password; a final line break does not count
      -h, --help                         Print help

    Options of every command:
          --json             Print one JSON object to stdout instead of words
      -q, --quiet            Print nothing but results and errors
          --progress-fd <N>  Write progress to this open file descriptor too, a JSON object a line
    ");
    assert_session!(home.session(&["trust", "add", "--help"]), @"
    exit 0
    --- stdout
    Trust a project's key; compare the fingerprint with the project's over another way first

    Usage: imgforge trust add [OPTIONS] --key <FILE> --from <STORE> <PROJECT>

    Arguments:
      <PROJECT>  The project, as it names itself

    Options:
          --key <FILE>    Its public key
          --from <STORE>  Where its releases live: a folder
      -h, --help          Print help

    Options of every command:
          --json             Print one JSON object to stdout instead of words
      -q, --quiet            Print nothing but results and errors
          --progress-fd <N>  Write progress to this open file descriptor too, a JSON object a line
    ");
    assert_session!(home.session(&["recipe", "--help"]), @"
    exit 0
    --- stdout
    List, check, resolve and render recipes

    Usage: imgforge recipe [OPTIONS] <COMMAND>

    Commands:
      list       List the tiers of the project
      check      Check every recipe and the files that its steps would send, without building
      show       Print a resolved recipe: every value, and the file and line that it comes from
      render     Print the Dockerfile that a tier is built with
      lock       Pin every file that recipes download, in `imgforge.lock` beside them
      reference  Print the reference of recipes, in Markdown
      schema     Print the JSON Schema of recipes, for editors
      help       Print this message or the help of the given subcommand(s)

    Options:
          --recipes <DIR>  Folder with `project.toml` and a file for each tier [default: the only one in
                           `recipes/`] [env: IMGFORGE_RECIPES=]
      -h, --help           Print help

    Options of every command:
          --json             Print one JSON object to stdout instead of words
      -q, --quiet            Print nothing but results and errors
          --progress-fd <N>  Write progress to this open file descriptor too, a JSON object a line
    ");
}

#[test]
fn wrong_use_is_explained() {
    let home = Home::new();
    home.must(&["keys", "generate"]);
    assert_session!(home.session(&["fetsh"]), @"
    exit 2
    --- stderr
    error: unrecognized subcommand 'fetsh'

      tip: a similar subcommand exists: 'fetch'

    Usage: imgforge [OPTIONS] <COMMAND>

    For more information, try '--help'.
    ");
    assert_session!(home.session(&["release", "oracle"]), @"
    exit 2
    --- stderr
    error: the following required arguments were not provided:
      --version <V>

    Usage: imgforge release --version <V> <TIER>...

    For more information, try '--help'.
    ");
    assert_session!(home.session(&["build", "Oracle"]), @"
    exit 2
    --- stderr
    error: invalid value 'Oracle' for '<TIER>...': `Oracle` is not a tier name: use 1 to 63 lower-case letters, digits and `-`, beginning with a letter

    For more information, try '--help'.
    ");
    assert_session!(home.session(&["build", "oracle", "--secret", "id=x,src=/nowhere"]), @"
    exit 2
    --- stderr
    error: invalid value 'id=x,src=/nowhere' for '--secret <id=ID,src=FILE>': there is no file `/nowhere`

    For more information, try '--help'.
    ");
    assert_session!(home.session(&["fetch", "oracle", "--key", "cosign.pub"]), @"
    exit 2
    --- stderr
    error: `--key` needs to know the project and the store

    hint: write `imgforge fetch --verify PROJECT/TIER --key cosign.pub --from STORE`, or the project's own folder, `--from STORE/PROJECT`
    ");
    home.must(&["trust", "add", "p", "--key", "keys/cosign.pub", "--from", "store"]);
    let mut address = home.imgforge(&["fetch", "oracle"]);
    assert_session!(home.record(address.env("DOCKER_HOST", "/var/run/docker.sock")), @"
    exit 2
    --- stderr
    error: `DOCKER_HOST`: `/var/run/docker.sock` is not an address: use `unix:///path/to/socket`, `tcp://host:port` or `ssh://user@host`

    hint: change or unset `DOCKER_HOST`
    ");
}

#[test]
fn exit_codes_are_documented() {
    let source = fs::read_to_string(root().join("src/cli/report.rs")).unwrap();
    let body = source.split("enum Code {").nth(1).unwrap().split('}').next().unwrap();
    let used: BTreeSet<u8> = body
        .lines()
        .filter_map(|line| line.split('=').nth(1)?.trim_matches([' ', ',']).parse().ok())
        .collect();
    let page = fs::read_to_string(root().join("docs/exit-codes.md")).unwrap();
    let documented: BTreeSet<u8> = page
        .lines()
        .filter_map(|line| line.strip_prefix('|')?.split('|').next()?.trim().trim_matches('`').parse().ok())
        .collect();
    assert!(used.len() > 8, "{used:?}");
    assert!(used.is_subset(&documented), "undocumented: {:?}", used.difference(&documented));
}

#[test]
fn completions_are_printed_for_every_shell() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "powershell"] {
        assert!(home.must(&["completions", shell]).contains("fetch"), "{shell}");
    }
}

#[test]
fn the_recipe_reference_is_current() {
    let page = fs::read_to_string(root().join("docs/recipes-reference.md")).unwrap();
    let now = Home::new().must(&["recipe", "reference"]);
    assert!(page == now, "write it again: imgforge recipe reference > docs/recipes-reference.md");
}
