//! The interfaces of other products, as their clients meet them.

mod sdk;
mod watson;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lastseen::http::face::{FACES, Treatment};
use serde_json::Value;

use crate::http::{Answer, Bench, VIEWER};

/// Asks as the clients of other products do: by basic authentication, with a user name of theirs.
pub fn ask_as(bench: &Bench, method: &str, path: &str, user: &str, secret: &str) -> Answer {
    let said = STANDARD.encode(format!("{user}:{secret}"));
    bench.ask(bench.address(), method, path, &[("authorization", format!("Basic {said}"))], None)
}

/// A parameter of a route, held against what the table says of it.
pub struct Probe {
    /// The route as the table has it.
    pub path: &'static str,
    /// The parameter.
    pub name: &'static str,
    /// What is asked with it.
    pub said: String,
}

/// Every route and parameter of a face's tables does what they say: what is served changes the answer, what is ignored
/// does not, what is refused is an error that names it and what is served. None is left out. `plain`: each route, and an
/// address of it that is answered.
pub fn holds_its_tables(bench: &Bench, name: &str, plain: &[(&str, &str)], probes: &[Probe]) {
    let face = FACES.iter().find(|face| face.name == name).expect("the face");
    let held = |treatment: Treatment, parameter: &str, plain: &str, said: &str| {
        let (plain, said) = (bench.get(plain), bench.get(said));
        assert_eq!(plain.status, 200, "{}", plain.text);
        match treatment {
            Treatment::Served => {
                assert_eq!(said.status, 200, "{parameter}: {}", said.text);
                assert_ne!(plain.text, said.text, "{parameter} changes nothing");
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
        let (_, plain) = plain
            .iter()
            .find(|(path, _)| *path == route.path)
            .unwrap_or_else(|| panic!("{}: nothing asks it", route.path));
        let mark = if plain.contains('?') { '&' } else { '?' };
        held(face.unknown, "colour", plain, &format!("{plain}{mark}colour=red"));
        for parameter in route.parameters {
            let what = format!("{}: {}", route.path, parameter.name);
            let mut of_it = probes.iter().filter(|one| one.path == route.path && one.name == parameter.name);
            let probe = of_it.next().unwrap_or_else(|| panic!("{what}: nothing tests it"));
            assert!(of_it.next().is_none(), "{what}: twice");
            assert!(probe.said.contains(&format!("{}=", parameter.name)), "{what}: it is not said");
            held(parameter.treatment, parameter.name, plain, &probe.said);
        }
    }
    let known = |probe: &Probe| {
        let route = face.routes.iter().find(|route| route.path == probe.path);
        route.is_some_and(|route| route.parameters.iter().any(|one| one.name == probe.name))
    };
    for probe in probes {
        assert!(known(probe), "{}: {} is in no table", probe.path, probe.name);
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
