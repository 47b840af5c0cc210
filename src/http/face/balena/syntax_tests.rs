use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

fn read(text: &str) -> Expr {
    filter(text, NOW).unwrap_or_else(|wrong| panic!("{text}: {wrong}"))
}

fn path(text: &str, at: usize) -> Operand {
    Operand::Path(text.split('/').map(str::to_owned).collect(), at)
}

fn text(text: &str) -> Operand {
    Operand::Text(text.into())
}

#[test]
fn filters_are_read_as_the_vendors_clients_write_them() {
    assert_eq!(
        read("is_online eq true"),
        Expr::Compare(Op::Eq, path("is_online", 0), Operand::Bool(true), 0)
    );
    assert_eq!(read(" is_online "), Expr::Holds(path("is_online", 1), 1));
    assert_eq!(
        read("(slug eq 'o/f') or (uuid eq 'it''s')"),
        Expr::Or(vec![
            Expr::Compare(Op::Eq, path("slug", 1), text("o/f"), 1),
            Expr::Compare(Op::Eq, path("uuid", 20), text("it's"), 20),
        ])
    );
    assert_eq!(
        read("overall_status in ('offline', 'idle')"),
        Expr::In(path("overall_status", 0), vec![text("offline"), text("idle")], 0)
    );
    assert_eq!(read("id in ()"), Expr::In(path("id", 0), Vec::new(), 0));
    assert_eq!(
        read("not(startswith(device_name,'a'))"),
        Expr::Not(Box::new(Expr::Has(Part::Begin, path("device_name", 15), text("a"), 4)))
    );
    assert_eq!(
        read("substringof('mp', device_name) eq false"),
        Expr::Not(Box::new(Expr::Has(Part::Within, path("device_name", 18), text("mp"), 0)))
    );
    assert_eq!(
        read("belongs_to__application/any(bta:bta/organization eq 5)"),
        Expr::Any(
            vec!["belongs_to__application".into()],
            "bta".into(),
            Box::new(Expr::Compare(Op::Eq, path("bta/organization", 32), Operand::Number(5.0), 32)),
            0
        )
    );
    assert_eq!(
        read("is_directly_accessible_by__user/any(dau:1 eq 1)"),
        Expr::Any(
            vec!["is_directly_accessible_by__user".into()],
            "dau".into(),
            Box::new(Expr::Compare(Op::Eq, Operand::Number(1.0), Operand::Number(1.0), 40)),
            0
        )
    );
    let time = Timestamp::from_millis(0);
    assert_eq!(
        read("last_vpn_event lt datetime'1970-01-01T00:00:00.000Z' and modified_at le now()"),
        Expr::And(vec![
            Expr::Compare(Op::Lt, path("last_vpn_event", 0), Operand::Time(Some(time)), 0),
            Expr::Compare(Op::Le, path("modified_at", 57), Operand::Time(None), 57),
        ])
    );
    assert_eq!(
        read("tolower(device_name) eq 'a' or b eq null and c ne -1.5"),
        Expr::Or(vec![
            Expr::Compare(Op::Eq, Operand::Lower(Box::new(path("device_name", 8))), text("a"), 0),
            Expr::And(vec![
                Expr::Compare(Op::Eq, path("b", 31), Operand::Null, 31),
                Expr::Compare(Op::Ne, path("c", 45), Operand::Number(-1.5), 45),
            ]),
        ]),
        "and binds closer than or"
    );
}

#[test]
fn what_cannot_be_read_is_told_with_its_place_and_what_is_understood() {
    let refused = |text: &str| filter(text, NOW).unwrap_err().to_string();
    for (text, told) in [
        ("", "at character 1: a value is missing here; understood are and, or, not"),
        ("is_online eq", "at character 13: a value is missing"),
        ("is_online eq true extra", "at character 19: here it should end"),
        ("(is_online", "at character 11: a ) is missing"),
        ("name eq 'a", "at character 9: the text that begins here has no end"),
        ("ä eq 'ö' and (", "at character 1: a value is missing"),
        ("name eq 'ö' and é", "at character 17: a value is missing"),
        ("id eq 12abc", "at character 7: 12abc is no number"),
        ("year(modified_at) eq 2026", "at character 1: year(…) is not served; understood are"),
        ("owns__device/all(d:d/is_online)", "at character 1: all(…) is not served"),
        ("a/any(d d/b)", "at character 9: a : is missing"),
        ("a/ eq 1", "at character 4: a name is missing"),
        ("datetime'soon' lt now()", "is no time"),
        ("'text'", "at character 7: a comparison is missing"),
        ("startswith(a) eq true", "at character 13: a , is missing"),
        ("startswith(a,'b') eq 'c'", "this is true or false"),
    ] {
        assert!(refused(text).contains(told), "{text}: {}", refused(text));
    }
    assert!(refused(&"not ".repeat(1_000)).contains("lie in one another"));
    assert!(refused(&"(".repeat(1_000)).contains("lie in one another"));
    assert!(refused(&"tolower(".repeat(1_000)).contains("lie in one another"));
}

#[test]
fn orders_expansions_and_keys_are_read() {
    let pair = |name: &str, is_descending| (name.to_owned(), is_descending);
    assert_eq!(
        order("device_name asc, id desc,uuid"),
        Ok(vec![pair("device_name", false), pair("id", true), pair("uuid", false)])
    );
    for wrong in ["", "a,", "a up", "a asc desc"] {
        assert!(order(wrong).is_err(), "{wrong}");
    }
    let option = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        expand(
            "owns__device/$count($filter=uuid eq 'a;)'),organization($select=id,name;$expand=x($select=y))"
        ),
        Ok(vec![
            Expand {
                name: "owns__device".into(),
                counts: true,
                options: vec![option("$filter", "uuid eq 'a;)'")]
            },
            Expand {
                name: "organization".into(),
                counts: false,
                options: vec![option("$select", "id,name"), option("$expand", "x($select=y)")]
            },
        ])
    );
    for wrong in ["a($select", "a(b)", "a)", "a('", "a($select=b))("] {
        assert!(expand(wrong).is_err(), "{wrong}");
    }
    assert_eq!(key("5)"), Ok(Key::Id(5)));
    assert_eq!(key("id=5)"), Ok(Key::Id(5)));
    assert_eq!(key("uuid='a''b')"), Ok(Key::Named("uuid".into(), "a'b".into())));
    for wrong in ["", "5", ")", "uuid=5)", "uuid='a)", "uuid='a'b)", "'a')", "-5)", "é=é)"] {
        assert!(key(wrong).is_err(), "{wrong}");
    }
}

/// Pieces of filters, in no order that makes sense.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "(",
        ")",
        ",",
        ":",
        ";",
        "'",
        "''",
        "/",
        "=",
        "and",
        "or",
        "not",
        "eq",
        "in",
        "lt",
        "any",
        "all",
        "startswith",
        "now()",
        "datetime'",
        "2026",
        "-1",
        "null",
        "true",
        "id",
        "d",
        "é",
        "\u{1F980}",
        "$count",
        "$filter=",
        "tolower(",
        " ",
    ]);
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.join(" "))
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(any in prop_oneof![".{0,60}", pieces(), pieces().prop_map(|text| text.replace(' ', ""))]) {
        if let Err(wrong) = filter(&any, NOW) {
            prop_assert!(wrong.at <= any.chars().count(), "{wrong}");
        }
        let _ = order(&any);
        let _ = expand(&any);
        let _ = key(&any);
    }
}
