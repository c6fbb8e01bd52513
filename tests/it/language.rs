//! The recipe language as an author meets it: resolving, showing, planning, and every kind of base
//! built for real.

use std::fs;
use std::process::{Child, Command, Stdio};

use sha2::Digest as _;

use crate::assert_session;
use crate::building::Project;
use crate::harness::{Home, must, root, tool};

fn project(files: &[(&str, &str)]) -> Home {
    let home = Home::new();
    fs::create_dir_all(home.path("recipes")).unwrap();
    let head = "name = \"p\"\nversion = \"1.0.0\"\nplatforms = [\"linux/amd64\", \"linux/arm64\"]\n\
                [environments.testnet.env]\nNETWORK = \"test\"\n[environments.testnet.labels]\nnet = \"test\"\n";
    fs::write(home.path("recipes/project.toml"), head).unwrap();
    for (tier, text) in files {
        fs::write(home.path(&format!("recipes/{tier}.toml")), text).unwrap();
    }
    home
}

const BASE: &str = "base = \"scratch\"\nworkdir = \"/app\"\n\n[user]\nname = \"node\"\nuid = 1001\ngid = 1001\n\n\
                    [env.NETWORK]\ndescription = \"which network\"\ndefault = \"main\"\n\n[policy]\nlabels = [\"a\"]\n";
const ONE: &str = "extends = \"base\"\n\n[services.main]\ncommand = [\"/one\"]\nready = { probe = { tcp = 3000 } }\n\n\
                   [ports.api]\nnumber = 3000\nservice = \"main\"\n\n[policy]\nlabels = [\"b\"]\n\n[resources]\nmemory = \"1 GiB\"\n";
const TWO: &str = "extends = \"base\"\n\n[services.main]\ncommand = [\"/two\"]\n\n[ports.api]\nnumber = 3001\n\n\
                   [policy]\nlabels = { replace = [\"c\"] }\n\n[resources]\nmemory = \"2 GiB\"\n";

#[test]
fn a_resolved_recipe_says_where_each_value_comes_from() {
    let home = project(&[("base", BASE), ("one", ONE), ("two", TWO)]);
    assert_session!(home.session(&["recipe", "show", "one"]), @r#"
    exit 0
    --- stdout
    env.NETWORK.default = "main"               # recipes/base.toml:11
    env.NETWORK.description = "which network"  # recipes/base.toml:10
    extends = "base"                           # recipes/one.toml:1
    policy.labels = ["a", "b"]                 # recipes/one.toml:12
    ports.api.number = 3000                    # recipes/one.toml:8
    ports.api.service = "main"                 # recipes/one.toml:9
    resources.memory = "1 GiB"                 # recipes/one.toml:15
    services.main.command = ["/one"]           # recipes/one.toml:4
    services.main.ready.probe.tcp = 3000       # recipes/one.toml:5
    user.gid = 1001                            # recipes/base.toml:7
    user.name = "node"                         # recipes/base.toml:5
    user.uid = 1001                            # recipes/base.toml:6
    workdir = "/app"                           # recipes/base.toml:2
    "#);
    assert_session!(home.session(&["recipe", "show", "two", "--environment", "testnet"]), @r#"
    exit 0
    --- stdout
    env.NETWORK.default = "test"               # recipes/project.toml:5
    env.NETWORK.description = "which network"  # recipes/base.toml:10
    extends = "base"                           # recipes/two.toml:1
    labels.net = "test"                        # recipes/project.toml:7
    policy.labels = ["c"]                      # recipes/two.toml:10
    ports.api.number = 3001                    # recipes/two.toml:7
    resources.memory = "2 GiB"                 # recipes/two.toml:13
    services.main.command = ["/two"]           # recipes/two.toml:4
    user.gid = 1001                            # recipes/base.toml:7
    user.name = "node"                         # recipes/base.toml:5
    user.uid = 1001                            # recipes/base.toml:6
    workdir = "/app"                           # recipes/base.toml:2
    "#);
    assert_session!(home.session(&["recipe", "show", "two", "--environment", "testnt"]), @"
    exit 2
    --- stderr
    error: recipes/project.toml:4:2: there is no environment `testnt`
        fix: the project has `testnet`

    hint: change the file, then run `imgforge recipe check`
    ");
}

#[test]
fn a_union_is_computed() {
    let all = "union = [\"one\", \"two\"]\ndescription = \"both\"\n\n[resources]\nmemory = \"3 GiB\"\n";
    let home = project(&[("base", BASE), ("one", ONE), ("two", TWO), ("all", all)]);
    assert_session!(home.session(&["recipe", "show", "all"]), @r#"
    exit 0
    --- stdout
    description = "both"                       # recipes/all.toml:2
    env.NETWORK.default = "main"               # recipes/base.toml:11
    env.NETWORK.description = "which network"  # recipes/base.toml:10
    policy.labels = ["a", "b", "c"]            # recipes/one.toml:12
    ports.one-api.number = 3000                # recipes/one.toml:8
    ports.one-api.service = "one-main"         # recipes/one.toml:9
    ports.two-api.number = 3001                # recipes/two.toml:7
    resources.memory = "3 GiB"                 # recipes/all.toml:5
    services.one-main.command = ["/one"]       # recipes/one.toml:4
    services.one-main.ready.probe.tcp = 3000   # recipes/one.toml:5
    services.two-main.command = ["/two"]       # recipes/two.toml:4
    union = ["one", "two"]                     # recipes/all.toml:1
    user.gid = 1001                            # recipes/base.toml:7
    user.name = "node"                         # recipes/base.toml:5
    user.uid = 1001                            # recipes/base.toml:6
    workdir = "/app"                           # recipes/base.toml:2
    "#);
    // What runs services in an image is a program, and imgforge carries that of its own platform.
    assert_session!(home.session(&["plan", "all", "--platform", "linux/arm64"]), @"
    exit 2
    --- stderr
    error: recipes/one.toml:3:2: this needs `imgforge-init` for linux/arm64, and the one in this imgforge is for linux/amd64
        fix: build it with an imgforge that was built for that platform

    hint: change the file, then run `imgforge recipe check`
    ");
    assert!(
        home.must(&["plan", "base", "--platform", "linux/arm64"]).contains("p/base:1.0.0 for linux/arm64")
    );
    assert_session!(home.session(&["plan", "all", "--platform", "linux/arm"]), @"
    exit 2
    --- stderr
    error: invalid value 'linux/arm' for '--platform <OS/ARCH>': `linux/arm` is not a platform: use `linux/amd64` or `linux/arm64`

    For more information, try '--help'.
    ");
}

#[test]
fn ten_mistakes_at_once() {
    let broken = "extends = \"base\"\ncontext = \"files\"\ndevices = [\"/sys/kernel\"]\n\n\
        [services.a]\ncommand = [\"/a\"]\nneeds = [\"b\"]\nready = { probe = { http = \"https://example.com/\" } }\n\
        [services.b]\ncommand = [\"/b\"]\nneeds = [\"a\"]\n[services.c]\ncommand = []\nneeds = [\"d\"]\n\
        [env.KEY]\ndescription = \"x\"\nsecret = true\ndefault = \"1\"\npattern = \"(\"\n\
        [ports.x]\nnumber = 80\n[ports.y]\nnumber = 80\nservice = \"none\"\n\
        [size]\nwarn = \"2 GB\"\nlimit = \"1 GB\"\n[resources]\nheap = { runtime = \"node\", percent = 0 }\n\
        [volumes.v]\npath = \"data\"\n[[steps]]\nnpm = { lock = \"package-lock.json\", directory = \"app\" }\n";
    let home = project(&[("base", BASE), ("t", broken)]);
    assert_session!(home.session(&["recipe", "check"]), @"
    exit 2
    --- stderr
    error: 13 things are wrong in the recipes
      recipes/t.toml:3:12: `/sys/kernel` is not a device
        fix: write a path such as `/dev/net/tun`
      recipes/t.toml:7:1: services `a`, `b` need each other in a circle
        fix: let one of them start without the others
      recipes/t.toml:8:11: `https://example.com/` does not begin with `http://`
        fix: write `http://127.0.0.1:PORT/PATH`
      recipes/t.toml:13:1: the command is empty
        fix: name a program
      recipes/t.toml:14:10: there is no service `d`
        fix: this tier has `a`, `b`, `c`
      recipes/t.toml:18:1: a secret with a default is no secret
        fix: remove `default`
      recipes/t.toml:19:1: the pattern of `KEY` is not a regular expression: found open group without closing ')'
        fix: see https://docs.rs/regex-lite
      recipes/t.toml:23:1: 80 is also the number of `x`
        fix: give each port a number of its own
      recipes/t.toml:24:1: there is no service `none`
        fix: name a service of this tier
      recipes/t.toml:26:1: `warn` is above `limit`: it would never warn
        fix: write less than `limit`
      recipes/t.toml:29:28: `percent` is 0
        fix: write a number from 1 to 100
      recipes/t.toml:31:1: `data` is not an absolute path
        fix: begin with `/`, without `..` and `$`
      recipes/t.toml:33:37: `app` is not an absolute path
        fix: begin with `/`, without `..` and `$`

    hint: change the file, then run `imgforge recipe check`
    ");
}

#[test]
fn check_opens_what_a_build_would_send() {
    let copy = "context = \"files\"\nextends = \"base\"\n\n[[steps]]\ncopy = { paths = [\"app\", \"cfg.json\"], to = \"/app/\" }\n";
    let home = project(&[
        ("base", "base = \"scratch\"\n"),
        ("one", copy),
        (
            "two",
            "extends = \"base\"\ncontext = \"flies\"\n[[steps]]\ncopy = { paths = [\"app\"], to = \"/app/\" }\n",
        ),
        (
            "three",
            "extends = \"base\"\ncontext = \"files\"\n[[steps]]\nnpm = { lock = \"package-lock.json\", directory = \"/app\" }\n",
        ),
        ("four", "context = \"files\"\n[base.dockerfile]\npath = \"Dockerfle\"\ntarget = \"run\"\n"),
    ]);
    for path in ["app/main.mjs", "app/.env", "config.json", "Dockerfile"] {
        let path = home.path("recipes/files").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    assert_session!(home.session(&["recipe", "check"]), @"
    exit 2
    --- stderr
    error: 4 things are wrong in the recipes
      recipes/four.toml:3:1: there is no file `recipes/files/Dockerfle`
        fix: correct the path, which begins in `context`, or create the file
      recipes/one.toml:4:1: `cfg.json` names nothing in `recipes/files`
        fix: there is `config.json`
      recipes/three.toml:3:1: the lock file `files/package-lock.json` is not there
        fix: make it where its package manager runs, and commit it
      recipes/two.toml:2:1: there is no folder `recipes/flies`
        fix: there is `files`: correct `context`

    hint: change the file, then run `imgforge recipe check`
    ");
    for tier in ["two", "three", "four"] {
        fs::remove_file(home.path(&format!("recipes/{tier}.toml"))).unwrap();
    }
    fs::write(home.path("recipes/one.toml"), copy.replace("cfg", "config")).unwrap();
    assert_session!(home.session(&["recipe", "check"]), @"
    exit 2
    --- stderr
    error: recipes/one.toml:4:1: `files/app/.env`, which would be sent to the builder, is an environment file
        fix: move it out of the folder, leave it out with a line in `.dockerignore`, or give it to a step with `secrets`

    hint: change the file, then run `imgforge recipe check`
    ");
    fs::write(home.path("recipes/files/.dockerignore"), "**/.env\n").unwrap();
    assert_session!(home.session(&["recipe", "check"]), @"
    exit 0
    --- stdout
    base       ok
    one        ok
    ");
}

#[test]
fn the_schema_accepts_the_sample_and_refuses_a_mistake() {
    let home = Home::new();
    for (file, subject) in [("project", "project"), ("base", "recipe"), ("oracle", "recipe")] {
        let schema: serde_json::Value =
            serde_json::from_str(&home.must(&["recipe", "schema", subject])).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let text = fs::read_to_string(root().join(format!("recipes/noderr/{file}.toml"))).unwrap();
        let written: serde_json::Value = toml::from_str(&text).unwrap();
        let errors: Vec<String> = validator.iter_errors(&written).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{file}.toml: {errors:?}");
        let mut wrong = written;
        wrong["comand"] = true.into();
        assert!(!validator.is_valid(&wrong), "{file}.toml with an unknown key was accepted");
    }
    // The two spellings of a list.
    let schema: serde_json::Value = serde_json::from_str(&home.must(&["recipe", "schema"])).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for (devices, right) in
        [("['/dev/x']", true), ("{ replace = ['/dev/x'] }", true), ("{ append = [] }", false)]
    {
        let written: serde_json::Value = toml::from_str(&format!("devices = {devices}")).unwrap();
        assert_eq!(validator.is_valid(&written), right, "{devices}");
    }
}

#[test]
fn a_dockerfile_of_ones_own_is_continued() {
    let project = Project::new("t-own", "");
    project.write(
        "recipes/own.toml",
        "context = \"mine\"\n[user]\nname = \"root\"\nuid = 0\ngid = 0\n[base.dockerfile]\npath = \"build/Dockerfile\"\ntarget = \"final\"\n",
    );
    project.write("recipes/mine/greeting", "hello\n");
    project.write("recipes/mine/rootfs/bin/keep", "");
    project.write("recipes/mine/build/Dockerfile", "FROM scratch AS one\nCOPY greeting /greeting\n\nFROM scratch AS final\nCOPY --from=one /greeting /from-own\n");
    assert_session!(project.home.session(&["recipe", "render", "own"]), @r#"
    exit 0
    --- stdout
    FROM scratch AS one
    COPY greeting /greeting

    FROM scratch AS final
    COPY --from=one /greeting /from-own

    # Rendered by imgforge for `t-own/own:1.0.0`. `.imgforge/` holds what imgforge adds to the context.

    FROM final AS own
    USER 0:0
    COPY [".imgforge/VERSION", "/app/VERSION"]
    LABEL "org.opencontainers.image.title"="t-own/own"
    LABEL "org.opencontainers.image.version"="1.0.0"
    "#);
    let built: serde_json::Value =
        serde_json::from_str(&must(&mut project.imgforge(&["build", "own", "--quiet", "--json"]))).unwrap();
    assert_eq!(built["images"][0]["image"]["layers"].as_array().unwrap().len(), 2, "{built}");
    project.write(
        "recipes/own.toml",
        "context = \"mine\"\n[base.dockerfile]\npath = \"build/Dockerfile\"\ntarget = \"fnal\"\n",
    );
    assert_session!(project.home.session(&["recipe", "check"]), @"
    exit 2
    --- stderr
    error: recipes/own.toml:4:1: `build/Dockerfile` has no stage `fnal`
        fix: it has `one`, `final`

    hint: change the file, then run `imgforge recipe check`
    ");
    project.write("recipes/mine/build/Dockerfile", "# syntax=docker/dockerfile:1\nFROM scratch AS fnal\n");
    assert_session!(project.home.session(&["recipe", "check"]), @"
    exit 2
    --- stderr
    error: recipes/own.toml:3:1: `build/Dockerfile` has a `# syntax=` line
        fix: remove that line: it makes the builder load a frontend from a registry

    hint: change the file, then run `imgforge recipe check`
    ");
}

#[test]
fn volumes_and_copies_have_their_owner_and_mode() {
    let project = Project::new(
        "t-own-er",
        "[user]\nname = \"node\"\nuid = 1001\ngid = 1001\n[volumes.state]\npath = \"/app/state\"\n[volumes.logs]\npath = \"/var/own/\"\nowner = \"7:8\"\n\
         [[steps]]\ncopy = { paths = [\"tool\"], to = \"/opt/\", owner = \"5:6\", mode = \"0750\" }\n",
    );
    project.write("recipes/files/tool", "x");
    must(&mut project.imgforge(&["build", "t", "--load", "--quiet"]));
    let listing = project.inside("stat -c '%n %u:%g %a' /app/state /var/own /opt/tool; id -u");
    assert_session!(listing, @"
    /app/state 1001:1001 755
    /var/own 7:8 755
    /opt/tool 5:6 750
    1001
    ");
}

/// A registry for one test, on a port of its own.
pub(crate) struct Registry(Child, pub(crate) String);

impl Registry {
    fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("localhost:{port}");
        let registry =
            Self::serve(&mut tool("crane", &["registry", "serve", "--address", &address]), address);
        while std::net::TcpStream::connect(&registry.1).is_err() {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        registry
    }

    /// What a command serves at an address.
    pub(crate) fn serve(command: &mut Command, address: String) -> Self {
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap(), address)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_image_of_a_registry_is_a_base_by_its_digest() {
    let registry = Registry::start();
    let project = Project::new("t-image", "");
    fs::write(project.home.path("hello"), "from the registry").unwrap();
    must(Command::new("tar").current_dir(project.home.path(".")).args([
        "--numeric-owner",
        "-cf",
        "layer.tar",
        "hello",
    ]));
    let (layer, tag) = (project.home.text("layer.tar"), format!("{}/small:1", registry.1));
    let pushed = must(&mut tool("crane", &["append", "--insecure", "-f", &layer, "-t", &tag]));
    let tier = |reference: &str| {
        format!("[base.image]\nreference = \"{reference}\"\n[user]\nname = \"root\"\nuid = 0\ngid = 0\n")
    };
    project.write("recipes/image.toml", &tier(&tag));
    assert_session!(project.home.session(&["recipe", "check"]).replace(&registry.1, "[REGISTRY]"), @"
    exit 2
    --- stderr
    error: recipes/image.toml:2:1: `[REGISTRY]/small:1` does not say which image: a tag can be moved
        fix: write `registry/repository@sha256:..` with the digest of the image

    hint: change the file, then run `imgforge recipe check`
    ");
    project.write("recipes/image.toml", &tier(pushed.trim()));
    let built = must(&mut project.imgforge(&["build", "image", "--quiet", "--json"]));
    let built: serde_json::Value = serde_json::from_str(&built).unwrap();
    let layers = built["images"][0]["image"]["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 2, "{built}");
    // Dated today and in the name of somebody, as its publisher wrote it.
    let published = format!("sha256:{}", hex::encode(sha2::Sha256::digest(fs::read(&layer).unwrap())));
    assert_eq!(layers[0]["digest"], published.as_str(), "{built}");
}
