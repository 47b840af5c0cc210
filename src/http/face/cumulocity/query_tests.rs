//! The query language: what becomes of a query, without a fleet.

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

fn said(text: &str) -> Expr {
    read("query", text, NOW).unwrap_or_else(|problem| panic!("{text}: {}", problem.detail)).filter.unwrap()
}

fn refused(text: &str) -> String {
    let read = read("query", text, NOW);
    read.and_then(|query| filters(&query.filter.unwrap())).expect_err(text).detail
}

fn name(text: &str) -> Expr {
    Expr::Is(Term::Text(Text::Name, Pattern::new(text), true))
}

#[test]
fn and_binds_tighter_than_or_and_brackets_tighter_than_both() {
    let [a, b, c] = ["a", "b", "c"].map(name);
    let any = |any: &[&Expr]| Expr::Any(any.iter().map(|one| (*one).clone()).collect());
    let all = |all: &[&Expr]| Expr::All(all.iter().map(|one| (*one).clone()).collect());
    for (text, expected) in [
        ("name eq 'a'", a.clone()),
        ("name eq a", a.clone()),
        ("((name eq 'a'))", a.clone()),
        ("name eq 'a' or name eq 'b' and name eq 'c'", any(&[&a, &all(&[&b, &c])])),
        ("(name eq 'a' or name eq 'b') and name eq 'c'", all(&[&any(&[&a, &b]), &c])),
        ("not name eq 'a' and name eq 'b'", all(&[&a.clone().not(), &b])),
        ("not(name eq 'a' and name eq 'b')", any(&[&a.clone().not(), &b.clone().not()])),
        ("name ne 'a'", a.clone().not()),
        ("not not(name eq 'a')", a.clone()),
        ("$filter=(name eq 'a')", a.clone()),
        ("$filter=name eq 'a' $orderby=id", a.clone()),
        ("$orderby=id&$filter=name eq 'a'", a.clone()),
        ("name eq 'it''s $filter='", name("it's $filter=")),
        ("name eq ''", name("")),
    ] {
        assert_eq!(said(text), expected, "{text}");
    }
}

#[test]
fn the_opposite_of_the_opposite_is_the_same() {
    for text in [
        "c8y_Availability.status eq 'AVAILABLE'",
        "c8y_Connection.status ne 'CONNECTED'",
        "type eq 'a*'",
        "has(c8y_RequiredAvailability)",
        "has(c8y_IsDevice)",
    ] {
        assert_eq!(said(text).not().not(), said(text), "{text}");
    }
}

#[test]
fn an_order_is_one_that_lists_have() {
    let sort = |text: &str| read("q", text, NOW).map(|query| query.sort).map_err(|problem| problem.detail);
    assert_eq!(sort("$orderby=id"), Ok(Some(Sort::Id)));
    assert_eq!(sort("$orderby=lastUpdated desc"), Ok(Some(Sort::By(Time::LastUpdated, true))));
    assert_eq!(
        sort("$filter=has(c8y_IsDevice)+$orderby=c8y_Availability.lastMessage"),
        Ok(Some(Sort::By(Time::LastMessage, false)))
    );
    assert_eq!(sort("name eq 'a'"), Ok(None));
    for wrong in ["$orderby=name", "$orderby=id desc", "$orderby=id,name", "$orderby=id asc now"] {
        let why = sort(wrong).unwrap_err();
        assert!(why.starts_with("q: lists are not ordered by") && why.contains("$orderby of id"), "{why}");
    }
}

#[test]
fn what_cannot_be_asked_is_told_with_what_can() {
    for (text, why) in [
        ("owner eq 'kim'", "\"owner\" cannot be asked for"),
        ("c8y_Availability.status eq 'ONLINE'", "\"ONLINE\" is none of MAINTENANCE, AVAILABLE, UNAVAILABLE"),
        ("c8y_Connection.status eq 'AVAILABLE'", "is none of MAINTENANCE, CONNECTED, DISCONNECTED"),
        ("c8y_Availability.status gt 'A'", "cannot be compared by gt"),
        ("c8y_Availability.lastMessage lt 'soon'", "\"soon\" is no time"),
        ("c8y_RequiredAvailability.responseInterval eq 'x'", "\"x\" is no whole number"),
        ("c8y_ActiveAlarmsStatus.grave gt 0", "\"c8y_ActiveAlarmsStatus.grave\" cannot be asked for"),
        ("c8y_ActiveAlarmsStatus.MAJOR gt 0", "cannot be asked for"),
        (
            "has(c8y_Hardware)",
            "no managed object here has a fragment \"c8y_Hardware\"; there are c8y_IsDevice",
        ),
        ("bygroupid(12)", "bygroupid(…) cannot be asked for"),
        ("name like 'a'", "\"like\" is none of eq, ne"),
        ("name eq", "a value must stand here, not the end"),
        ("name", "must stand a comparison, not the end"),
        ("name eq 'a", "has no end"),
        ("name eq 'a' name eq 'b'", "\"name\" is one too many"),
        ("(name eq 'a'", "a bracket must end here, not the end"),
        ("'a' eq name", "a field must stand here, not 'a'"),
        ("has()", "a fragment must stand here, not )"),
        ("name eq 'a' and", "a field must stand here, not the end"),
        ("$filter=name eq 'a'$filter=name eq 'b'", "$filter is there twice"),
    ] {
        let told = refused(text);
        assert!(told.starts_with("query: ") && told.contains(why), "{text}: {told}");
        assert!(told.contains("supported are c8y_Availability.status"), "{text}: {told}");
    }
    let deep = format!("{}name eq 'a'{}", "(".repeat(40), ")".repeat(40));
    assert!(refused(&deep).contains("deeper than 32"));
    let wide = ["(name eq 'a' or name eq 'b')"; 6].join(" and ");
    assert!(refused(&wide).contains("more than 32 alternatives"));
    assert_eq!(filters(&said(&["(name eq 'a' or name eq 'b')"; 5].join(" and "))).unwrap().len(), 32);
}
