//! Recipes as an author meets them: the sample renders to what is written here, and each mistake
//! gets a message with its place.

use std::fs;

use crate::assert_session;
use crate::harness::{Home, root};

#[test]
fn the_sample_is_listed_checked_and_rendered() {
    let home = Home::new();
    let run = |arguments: &[&str]| home.record(home.imgforge(arguments).current_dir(root()));
    assert_session!(run(&["recipe", "list"]), @"
    exit 0
    --- stdout
    all        Oracle, guardian and validator in one
    base       Debian with Node.js for Noderr nodes
    guardian   Guardian node: consensus, governance, execution, risk and settlement
    oracle     Oracle node: market data, model, strategy and capital
    validator  Validator node: chain, attestations and heartbeat
    ");
    assert_session!(run(&["recipe", "check"]), @"
    exit 0
    --- stdout
    all        ok
    base       ok
    guardian   ok
    oracle     ok
    validator  ok
    ");
    assert_session!(run(&["recipe", "render", "oracle", "--version", "1.2.3"]), @r#"
    exit 0
    --- stdout
    # Rendered by imgforge for `noderr/oracle:1.2.3`. `.imgforge/` holds what imgforge adds to the context.

    FROM scratch AS base
    ADD [".imgforge/base.rootfs.tar", "/"]
    RUN ["/bin/sh", "-c", "echo noderr:x:1001:1001::/app:/usr/sbin/nologin >> /etc/passwd && echo noderr:x:1001: >> /etc/group"]
    WORKDIR "/app"

    FROM base AS oracle.dependencies
    RUN ["/bin/sh", "-c", "apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends -- npm && apt-get clean && rm -rf /var/lib/apt/lists/*"]
    COPY ["workspace/package.json", "workspace/package-lock.json", "/app/"]
    COPY ["workspace/packages", "/app/packages/"]
    COPY ["workspace/services", "/app/services/"]
    RUN --mount=type=secret,id=ca-bundle --mount=type=cache,target=/root/.npm ["/bin/sh", "-c", "if [ -f /run/secrets/ca-bundle ]; then export NODE_EXTRA_CA_CERTS=/run/secrets/ca-bundle; fi; cd /app && npm ci --omit=dev --ignore-scripts --no-audit --no-fund"]
    RUN ["/bin/sh", "-c", "find /app/node_modules/@noderr -type l ! -name runtime -delete"]

    FROM base AS oracle.learning
    RUN ["/bin/sh", "-c", "apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends -- python3 python3-pip && apt-get clean && rm -rf /var/lib/apt/lists/*"]
    RUN --mount=type=secret,id=ca-bundle --mount=type=cache,target=/root/.cache/pip --mount=type=bind,source=workspace/services/ml-inference/requirements.txt,target=/run/imgforge/requirements.txt ["/bin/sh", "-c", "if [ -f /run/secrets/ca-bundle ]; then export PIP_CERT=/run/secrets/ca-bundle; fi; python3 -m venv --without-pip /app/venv && python3 -m pip --python /app/venv/bin/python install --require-hashes --only-binary :all: --no-compile --disable-pip-version-check -r /run/imgforge/requirements.txt"]

    FROM base AS oracle
    RUN ["/bin/sh", "-c", "apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends -- python3 && apt-get clean && rm -rf /var/lib/apt/lists/*"]
    COPY --from=oracle.learning ["/app/venv", "/app/venv/"]
    COPY --from=oracle.dependencies ["/app/node_modules", "/app/node_modules/"]
    COPY ["workspace/package.json", "/app/"]
    COPY ["workspace/packages", "/app/packages/"]
    COPY ["workspace/services/telemetry", "/app/services/telemetry/"]
    COPY ["workspace/services/market-data", "/app/services/market-data/"]
    COPY ["workspace/services/exchange-connectors", "/app/services/exchange-connectors/"]
    COPY ["workspace/services/data-connectors", "/app/services/data-connectors/"]
    COPY ["workspace/services/ml-inference", "/app/services/ml-inference/"]
    COPY ["workspace/services/quant-research", "/app/services/quant-research/"]
    COPY ["workspace/services/market-intelligence", "/app/services/market-intelligence/"]
    COPY ["workspace/services/strategy", "/app/services/strategy/"]
    COPY ["workspace/services/capital-ai", "/app/services/capital-ai/"]
    COPY [".imgforge/imgforge-init", "/usr/local/bin/imgforge-init"]
    COPY [".imgforge/oracle.init.json", "/etc/imgforge/init.json"]
    ENTRYPOINT ["/usr/local/bin/imgforge-init"]
    ENV LOG_LEVEL="info"
    ENV NODE_ENV="production"
    ENV RELEASE_CHANNEL="stable"
    ENV STATE_DIR="/app/state"
    EXPOSE 3000
    EXPOSE 9090
    HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["/usr/local/bin/imgforge-init", "probe", "services", "--timeout", "10"]
    COPY --chown=1001:1001 [".imgforge/volumes/state", "/app/"]
    VOLUME ["/app/state"]
    USER 1001:1001
    COPY [".imgforge/VERSION", "/app/VERSION"]
    LABEL "dev.imgforge.run"="{\"memory\":4294967296,\"pids\":512,\"capabilities\":[],\"read_only\":true,\"tmpfs\":{\"/tmp\":67108864},\"volumes\":{\"state\":\"/app/state\"},\"ports\":{\"api\":{\"number\":3000,\"protocol\":\"tcp\",\"service\":\"telemetry\",\"publish\":\"public\",\"description\":\"/v1/SERVICE/.. of every service, /v1/version, /health, /ready\"},\"metrics\":{\"number\":9090,\"protocol\":\"tcp\",\"service\":\"telemetry\",\"publish\":\"local\",\"description\":\"/metrics of all services, /health, /ready\"}}}"
    LABEL "org.opencontainers.image.description"="Oracle node: market data, model, strategy and capital"
    LABEL "org.opencontainers.image.licenses"="Apache-2.0"
    LABEL "org.opencontainers.image.title"="noderr/oracle"
    LABEL "org.opencontainers.image.vendor"="imgforge sample"
    LABEL "org.opencontainers.image.version"="1.2.3"
    "#);
}

const PROJECT: &str = "name = \"p\"\nversion = \"1.0.0\"\nplatforms = [\"linux/amd64\"]\n";
const BASE: &str = "[base.debian]\nsuite = \"trixie\"\npackages = []\n";

/// Writes a tier `t` beside a good base, and checks.
fn check(tier: &str) -> String {
    let home = Home::new();
    fs::create_dir_all(home.path("recipes")).unwrap();
    fs::write(home.path("recipes/project.toml"), PROJECT).unwrap();
    fs::write(home.path("recipes/base.toml"), BASE).unwrap();
    fs::write(home.path("recipes/t.toml"), tier).unwrap();
    home.session(&["recipe", "check"])
}

#[test]
#[expect(clippy::too_many_lines, reason = "one mistake after the other")]
fn mistakes_have_a_place_a_reason_and_a_next_step() {
    assert_session!(check("extends = \"base\"\nextend = \"base\"\n"), @"
    exit 2
    --- stderr
    error: recipes/t.toml:2:1: unknown key `extend`
        fix: write `extends`

    hint: change the file, then run `imgforge recipe check`
    ");
    assert_session!(check("extends = \"base\"\n\n[health]\nprobe = { command = [\"x\"] }\ninterval = \"30s\"\n"), @r#"
    exit 2
    --- stderr
    error: recipes/t.toml:5:1: `interval` is the text "30s"
        fix: write a whole number

    hint: change the file, then run `imgforge recipe check`
    "#);
    assert_session!(check("extends = \"bse\"\n"), @"
    exit 2
    --- stderr
    error: recipes/t.toml:1:1: there is no tier `bse`
        fix: write `base`; this project has `base`, `t`

    hint: change the file, then run `imgforge recipe check`
    ");
    assert_session!(check("description = \"alone\"\n"), @"
    exit 2
    --- stderr
    error: recipes/t.toml:1:1: nothing says what the tier starts from
        fix: add one of `base`, `extends` and `union`

    hint: change the file, then run `imgforge recipe check`
    ");
    assert_session!(check("extends = \"base\"\n[services.Main]\ncommand = [\"x\"]\n"), @"
    exit 2
    --- stderr
    error: recipes/t.toml:2:11: `Main` is not a service name: use 1 to 63 lower-case letters, digits and `-`, beginning with a letter

    hint: change the file, then run `imgforge recipe check`
    ");
    assert_session!(check("extends = \"base\"\n[[steps]]\ncopy = { paths = [\"x\"], to = \"app/\" }\n"), @r#"
    exit 2
    --- stderr
    error: 2 things are wrong in the recipes
      recipes/t.toml:3:1: copies from a context, and the tier has none
        fix: name the folder with `context = ".."`
      recipes/t.toml:3:25: `app/` is not an absolute path
        fix: begin with `/`, without `..` and `$`

    hint: change the file, then run `imgforge recipe check`
    "#);
    assert_session!(check("extends = \"base\"\n[[steps]]\ncopy = { paths = [\"x\"], to = \"/app/\" }\n"), @r#"
    exit 2
    --- stderr
    error: recipes/t.toml:3:1: copies from a context, and the tier has none
        fix: name the folder with `context = ".."`

    hint: change the file, then run `imgforge recipe check`
    "#);
    assert_session!(check("extends = \"base\"\ncontext = \".\"\n[[steps]]\ncopy = { paths = [\"../x\"], to = \"/\" }\n"), @"
    exit 2
    --- stderr
    error: recipes/t.toml:4:10: `../x` leaves the context
        fix: name a wider `context`

    hint: change the file, then run `imgforge recipe check`
    ");
    assert_session!(check("extends = \"base\"\n[[steps]]\ncopy = { from = \"nope\", paths = [\"/x\"], to = \"/\" }\n"), @"
    exit 2
    --- stderr
    error: recipes/t.toml:3:10: there is no stage `nope`
        fix: add `[stages.nope]`

    hint: change the file, then run `imgforge recipe check`
    ");
    assert_session!(check("extends = \"base\"\n[stages.s]\nfrom = \"other\"\n"), @"
    exit 2
    --- stderr
    error: recipes/t.toml:3:1: stage `s` starts from `other`, which is neither a stage nor an ancestor
        fix: the ancestors are `base`

    hint: change the file, then run `imgforge recipe check`
    ");
    assert_session!(check("extends = \"base\"\n[labels]\n\"a\" = \"one\\nRUN evil\"\n"), @r#"
    exit 2
    --- stderr
    error: recipes/t.toml:3:7: `a`: "one\nRUN evil" holds a line break or another control character
        fix: write it in one line of printable characters

    hint: change the file, then run `imgforge recipe check`
    "#);
    let circle = "extends = \"base\"\n[stages.a]\nfrom = \"base\"\n[[stages.a.steps]]\ncopy = { from = \"b\", paths = [\"/x\"], to = \"/\" }\n\
                  [stages.b]\nfrom = \"base\"\n[[stages.b.steps]]\ncopy = { from = \"a\", paths = [\"/x\"], to = \"/\" }\n";
    assert_session!(check(circle), @"
    exit 2
    --- stderr
    error: recipes/t.toml:2:9: stages `a`, `b` need each other in a circle
        fix: let one of them do without the others

    hint: change the file, then run `imgforge recipe check`
    ");
    assert_session!(check("extends = \"base\"\nworkdir = \"/it's:here\"\n"), @"
    exit 2
    --- stderr
    error: recipes/t.toml:2:1: `/it's:here` cannot be a home directory
        fix: write it without `:`

    hint: change the file, then run `imgforge recipe check`
    ");
    assert_session!(check("extends = \"base\"\n[services.s]\ncommand = []\n"), @r#"
    exit 2
    --- stderr
    error: 2 things are wrong in the recipes
      recipes/t.toml:2:2: the services would run as root
        fix: add `[user]` with a name and numbers; if it has to be root, say `name = "root"`, `uid = 0`, `gid = 0`
      recipes/t.toml:3:1: the command is empty
        fix: name a program

    hint: change the file, then run `imgforge recipe check`
    "#);
    assert_session!(check("extends = \"base\"\ncontext = \".\"\n[[steps]]\ncopy = { paths = [\"x\"], to = \"/$HOME/\" }\n"), @"
    exit 2
    --- stderr
    error: recipes/t.toml:4:25: `/$HOME/` is not an absolute path
        fix: begin with `/`, without `..` and `$`

    hint: change the file, then run `imgforge recipe check`
    ");
    assert_session!(check("extends = \"base\"\ncontext = \".\"\n[[steps]]\ncopy = { paths = [\"x\"], to = \"/\", owner = \"1:1\\nRUN evil\" }\n"), @"
    exit 2
    --- stderr
    error: recipes/t.toml:4:35: `1:1, RUN evil` is not an owner: use two numbers, such as `1001:1001`

    hint: change the file, then run `imgforge recipe check`
    ");
    assert_session!(check("extends = \"base\"\n[[steps]]\napt.packages = [\"-oAPT::x\"]\n"), @"
    exit 2
    --- stderr
    error: recipes/t.toml:3:17: `-oAPT::x` is not a Debian name: use lower-case letters, digits, `+`, `-` and `.`, beginning with a letter or digit

    hint: change the file, then run `imgforge recipe check`
    ");
    assert_session!(check("[base.debian]\nsuite = \"--setup-hook=touch /evil\"\npackages = []\n"), @"
    exit 2
    --- stderr
    error: recipes/t.toml:2:1: `--setup-hook=touch /evil` is not a Debian name: use lower-case letters, digits, `+`, `-` and `.`, beginning with a letter or digit

    hint: change the file, then run `imgforge recipe check`
    ");
    assert_session!(check("extends = \"base\"\nports = [\n"), @"
    exit 2
    --- stderr
    error: recipes/t.toml:2:10: unclosed array, expected `]`

    hint: change the file, then run `imgforge recipe check`
    ");
}

#[test]
fn a_folder_without_recipes() {
    let home = Home::new();
    assert_session!(home.session(&["recipe", "list"]), @"
    exit 2
    --- stderr
    error: there is no `recipes/project.toml` here

    hint: name the folder with `--recipes DIR`
    ");
    assert_session!(home.session(&["build", "oracle", "--recipes", "nowhere"]), @"
    exit 2
    --- stderr
    error: there are no recipes in `nowhere`

    hint: name the folder with `--recipes DIR`
    ");
}
