//! The interfaces of other products, as their clients meet them.

mod balena;
mod cumulocity;
mod sdk;
mod watson;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lastseen::http::face::{FACES, Treatment};
use serde_json::Value;

use crate::http::{Answer, BOSS, Bench, VIEWER};

/// Asks as the clients of other products do: by basic authentication, with a user name of theirs.
pub fn ask_as(bench: &Bench, method: &str, path: &str, user: &str, secret: &str) -> Answer {
    ask_with(bench, method, path, (user, secret), None)
}

/// The same, with a body.
pub fn ask_with(
    bench: &Bench,
    method: &str,
    path: &str,
    (user, secret): (&str, &str),
    body: Option<&Value>,
) -> Answer {
    let said = STANDARD.encode(format!("{user}:{secret}"));
    let body = body.map(Value::to_string);
    bench.ask(bench.address(), method, path, &[("authorization", format!("Basic {said}"))], body.as_deref())
}

/// A route, `GET /path` as the table has it, and an address of it that is answered.
pub struct Plain<'p> {
    pub route: &'p str,
    pub address: &'p str,
    pub body: Option<Value>,
}

/// A route that is only read.
pub fn read<'p>(route: &'p str, address: &'p str) -> Plain<'p> {
    Plain { route, address, body: None }
}

/// A parameter of a route, held against what the table says of it.
pub struct Probe {
    /// The route as the table has it.
    pub route: &'static str,
    /// The parameter.
    pub name: &'static str,
    /// What is asked with it.
    pub said: String,
}

/// An answer without the addresses in it: they repeat what was asked.
fn told(answer: &Answer) -> Value {
    let mut told = answer.json();
    if let Value::Object(fields) = &mut told {
        fields.retain(|name, _| !["self", "next", "prev"].contains(&name.as_str()));
    }
    told
}

/// Every route and parameter of a face's tables does what they say: what is served changes the answer, what is ignored
/// does not, what is refused is an error that names it and what is served. None is left out. Asked by somebody who may do
/// everything, and twice by each route that changes something: it must answer the same.
pub fn holds_its_tables(bench: &Bench, name: &str, plain: &[Plain<'_>], probes: &[Probe]) {
    let face = FACES.iter().find(|face| face.name == name).expect("the face");
    let user = face.user.replace("TENANT", "acme");
    let held = |treatment: Treatment, parameter: &str, method: &str, plain: &Plain<'_>, said: &str| {
        let ask = |path: &str| ask_with(bench, method, path, (&user, BOSS), plain.body.as_ref());
        let (plain, said) = (ask(plain.address), ask(said));
        assert!(plain.status < 300, "{}", plain.text);
        match treatment {
            Treatment::Served => {
                assert!(said.status < 300, "{parameter}: {}", said.text);
                assert_ne!(told(&plain), told(&said), "{parameter} changes nothing");
            }
            Treatment::Ignored => {
                assert_eq!((plain.status, plain.text), (said.status, said.text), "{parameter}")
            }
            Treatment::Refused => {
                assert_eq!(said.status, 400, "{parameter}: {}", said.text);
                assert!(said.text.contains(parameter) && said.text.contains("served here"), "{}", said.text);
            }
        }
    };
    for route in face.routes {
        let name = format!("{} {}", route.method, route.path);
        let plain = plain.iter().find(|plain| plain.route == name);
        let plain = plain.unwrap_or_else(|| panic!("{name}: nothing asks it"));
        let mark = if plain.address.contains('?') { '&' } else { '?' };
        let said = format!("{}{mark}colour=red", plain.address);
        held(face.unknown, "colour", route.method, plain, &said);
        for parameter in route.parameters {
            let what = format!("{name}: {}", parameter.name);
            let mut of_it = probes.iter().filter(|one| one.route == name && one.name == parameter.name);
            let probe = of_it.next().unwrap_or_else(|| panic!("{what}: nothing tests it"));
            assert!(of_it.next().is_none(), "{what}: twice");
            assert!(probe.said.contains(&format!("{}=", parameter.name)), "{what}: it is not said");
            held(parameter.treatment, parameter.name, route.method, plain, &probe.said);
        }
    }
    let known = |probe: &Probe| {
        let route = face.routes.iter().find(|one| format!("{} {}", one.method, one.path) == probe.route);
        route.is_some_and(|route| route.parameters.iter().any(|one| one.name == probe.name))
    };
    for probe in probes {
        assert!(known(probe), "{}: {} is in no table", probe.route, probe.name);
    }
}

/// The tables stand in the page of each face as the code has them; `UPDATE=1` writes them there.
#[test]
fn the_page_of_a_face_has_its_tables() {
    let bench = Bench::new();
    for face in FACES {
        let path = format!("{}/src/http/face/{}/README.md", env!("CARGO_MANIFEST_DIR"), face.name);
        let page = std::fs::read_to_string(&path).unwrap();
        let (begin, end) = ("<!-- made of the code: begin -->\n", "<!-- made of the code: end -->");
        let (before, rest) =
            page.split_once(begin).unwrap_or_else(|| panic!("{path}: no place for the table"));
        let (_, after) = rest.split_once(end).unwrap_or_else(|| panic!("{path}: the place has no end"));
        let made = format!("{before}{begin}\n{}\n{end}{after}", face.table());
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        assert!(page == made, "{path} is not what the code says: run this test with UPDATE=1");
        let served = bench.call("GET", &format!("/docs/{}", face.name), None, None);
        assert_eq!((served.status, served.text == face.page), (200, true), "it is served, and open to all");
        let all = bench.call("GET", "/docs", None, None);
        assert!(all.text.contains(&format!("* /docs/{}: ", face.name)), "it is found: {}", all.text);
    }
    bench.call("GET", "/docs/nothing", None, None).problem(404);
}

/// The ids of a page, of whatever they are called.
pub fn ids(page: &Value, list: &str) -> Vec<String> {
    let items = page[list].as_array().unwrap_or_else(|| panic!("no {list} in {page}"));
    items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

/// Asks as somebody who may read.
pub fn get(bench: &Bench, path: &str) -> Value {
    bench.call("GET", path, Some(VIEWER), None).good()
}
