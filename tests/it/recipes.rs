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
    base       Debian with Node.js for Noderr nodes
    oracle     Oracle node: market data and telemetry
    ");
    assert_session!(run(&["recipe", "check"]), @"
    exit 0
    --- stdout
    base       ok
    oracle     ok
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
    RUN ["/bin/sh", "-c", "apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends -- npm && rm -rf /var/lib/apt/lists/*"]
    COPY ["oracle/package.json", "oracle/package-lock.json", "/app/"]
    COPY ["oracle/packages", "/app/packages/"]
    COPY ["oracle/services", "/app/services/"]
    RUN --mount=type=secret,id=ca-bundle --mount=type=cache,target=/root/.npm ["/bin/sh", "-c", "if [ -f /run/secrets/ca-bundle ]; then export NODE_EXTRA_CA_CERTS=/run/secrets/ca-bundle; fi; cd /app && npm ci --omit=dev --ignore-scripts --no-audit --no-fund"]

    FROM base AS oracle
    COPY --from=oracle.dependencies ["/app/node_modules", "/app/node_modules/"]
    COPY ["oracle/package.json", "/app/"]
    COPY ["oracle/packages", "/app/packages/"]
    COPY ["oracle/services", "/app/services/"]
    COPY ["oracle/bin", "/app/bin/"]
    COPY [".imgforge/entrypoint", "/usr/local/bin/imgforge-entrypoint"]
    ENTRYPOINT ["/usr/bin/tini", "--", "/usr/local/bin/imgforge-entrypoint"]
    ENV LOG_LEVEL="info"
    ENV NODE_ENV="production"
    EXPOSE 3000
    EXPOSE 9090
    HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["node", "bin/health.mjs"]
    USER 1001:1001
    COPY [".imgforge/VERSION", "/app/VERSION"]
    LABEL "org.opencontainers.image.description"="Oracle node: market data and telemetry"
    LABEL "org.opencontainers.image.licenses"="Apache-2.0"
    LABEL "org.opencontainers.image.title"="noderr/oracle"
    LABEL "org.opencontainers.image.vendor"="imgforge sample"
    LABEL "org.opencontainers.image.version"="1.2.3"
    "#);
}

const PROJECT: &str = "name = \"p\"\nversion = \"1.0.0\"\nplatform = \"linux/amd64\"\n";
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
    error: recipes/t.toml:2:1: unknown field `extend`, expected one of `description`, `extends`, `base`, `context`, `workdir`, `init`, `user`, `args`, `stages`, `steps`, `env`, `services`, `health`, `ports`, `labels`

    hint: change the file, then run `imgforge recipe check`
    ");
    assert_session!(check("extends = \"base\"\n\n[health]\ncommand = [\"x\"]\ninterval = \"30s\"\n"), @r#"
    exit 2
    --- stderr
    error: recipes/t.toml:5:12: invalid type: string "30s", expected u32

    hint: change the file, then run `imgforge recipe check`
    "#);
    assert_session!(check("extends = \"bse\"\n"), @"
    exit 2
    --- stderr
    error: recipes/t.toml: there is no tier `bse`; this project has `base`, `t`

    hint: change the file, then run `imgforge recipe check`
    ");
    assert_session!(check("description = \"alone\"\n"), @"
    exit 2
    --- stderr
    error: recipes/t.toml: has neither `base` nor `extends`: add one of them

    hint: change the file, then run `imgforge recipe check`
    ");
    assert_session!(check("extends = \"base\"\n[services.Main]\ncommand = [\"x\"]\n"), @"
    exit 2
    --- stderr
    error: recipes/t.toml:2:11: `Main` is not a service name: use 1 to 63 lower-case letters, digits and `-`, beginning with a letter

    hint: change the file, then run `imgforge recipe check`
    ");
    assert_session!(check("extends = \"base\"\n[[steps]]\ncopy = { paths = [\"x\"], to = \"app/\" }\n"), @"
    exit 2
    --- stderr
    error: recipes/t.toml: copy to `app/`: write an absolute path without `$`

    hint: change the file, then run `imgforge recipe check`
    ");
    assert_session!(check("extends = \"base\"\n[[steps]]\ncopy = { paths = [\"x\"], to = \"/app/\" }\n"), @r#"
    exit 2
    --- stderr
    error: recipes/t.toml: copy of `x`: name the folder with `context = ".."`

    hint: change the file, then run `imgforge recipe check`
    "#);
    assert_session!(check("extends = \"base\"\ncontext = \".\"\n[[steps]]\ncopy = { paths = [\"../x\"], to = \"/\" }\n"), @"
    exit 2
    --- stderr
    error: recipes/t.toml: copy of `../x`: `..` leaves the context and `$` would expand

    hint: change the file, then run `imgforge recipe check`
    ");
    assert_session!(check("extends = \"base\"\n[[steps]]\ncopy = { from = \"nope\", paths = [\"/x\"], to = \"/\" }\n"), @"
    exit 2
    --- stderr
    error: recipes/t.toml: copy from `nope`: there is no `[stages.nope]`

    hint: change the file, then run `imgforge recipe check`
    ");
    assert_session!(check("extends = \"base\"\n[stages.s]\nfrom = \"other\"\n"), @"
    exit 2
    --- stderr
    error: recipes/t.toml: stage `s` starts from `other`, which `t` does not extend

    hint: change the file, then run `imgforge recipe check`
    ");
    assert_session!(check("extends = \"base\"\n[labels]\n\"a\" = \"one\\nRUN evil\"\n"), @r#"
    exit 2
    --- stderr
    error: recipes/t.toml: `a`: "one\nRUN evil" holds a line break or another control character

    hint: change the file, then run `imgforge recipe check`
    "#);
    let circle = "extends = \"base\"\n[stages.a]\nfrom = \"base\"\n[[stages.a.steps]]\ncopy = { from = \"b\", paths = [\"/x\"], to = \"/\" }\n\
                  [stages.b]\nfrom = \"base\"\n[[stages.b.steps]]\ncopy = { from = \"a\", paths = [\"/x\"], to = \"/\" }\n";
    assert_session!(check(circle), @"
    exit 2
    --- stderr
    error: recipes/t.toml: stages `a`, `b` copy from each other in a circle

    hint: change the file, then run `imgforge recipe check`
    ");
    assert_session!(check("extends = \"base\"\nworkdir = \"/it's:here\"\n"), @"
    exit 2
    --- stderr
    error: recipes/t.toml: workdir `/it's:here`: write an absolute path without `:` and `$`

    hint: change the file, then run `imgforge recipe check`
    ");
    assert_session!(check("extends = \"base\"\n[services.s]\ncommand = []\n"), @"
    exit 2
    --- stderr
    error: recipes/t.toml: `services.s`: the command is empty

    hint: change the file, then run `imgforge recipe check`
    ");
    assert_session!(check("extends = \"base\"\ncontext = \".\"\n[[steps]]\ncopy = { paths = [\"x\"], to = \"/$HOME/\" }\n"), @"
    exit 2
    --- stderr
    error: recipes/t.toml: copy to `/$HOME/`: write an absolute path without `$`

    hint: change the file, then run `imgforge recipe check`
    ");
    assert_session!(check("extends = \"base\"\ncontext = \".\"\n[[steps]]\ncopy = { paths = [\"x\"], to = \"/\", owner = \"1:1\\nRUN evil\" }\n"), @"
    exit 2
    --- stderr
    error: recipes/t.toml:4:43: `1:1, RUN evil` is not an owner: use two numbers, such as `1001:1001`

    hint: change the file, then run `imgforge recipe check`
    ");
    assert_session!(check("extends = \"base\"\n[[steps]]\napt.packages = [\"-oAPT::x\"]\n"), @"
    exit 2
    --- stderr
    error: recipes/t.toml:3:16: `-oAPT::x` is not a Debian name: use lower-case letters, digits, `+`, `-` and `.`, beginning with a letter or digit

    hint: change the file, then run `imgforge recipe check`
    ");
    assert_session!(check("[base.debian]\nsuite = \"--setup-hook=touch /evil\"\npackages = []\n"), @"
    exit 2
    --- stderr
    error: recipes/t.toml:2:9: `--setup-hook=touch /evil` is not a Debian name: use lower-case letters, digits, `+`, `-` and `.`, beginning with a letter or digit

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
