use super::*;
use crate::domain::device::{Dated, Device, LifecycleFact};
use crate::domain::event::{PollSettings, Update};
use crate::domain::facet::Facets;
use crate::domain::time::Timestamp;

const NEVER_BEFORE: Inputs = Inputs {
    is_active: true,
    post_provisioning: false,
    vpn: false,
    had_tunnel: false,
    heartbeat: Heartbeat::Unknown,
    download: None,
    configuring: false,
    provisioning: None,
    vpn_wanted: true,
};

/// With a tunnel, and a heartbeat: nothing is wrong with it.
const WELL: Inputs = Inputs { vpn: true, had_tunnel: true, heartbeat: Heartbeat::Online, ..NEVER_BEFORE };

#[test]
fn the_first_rule_that_holds_decides() {
    use Heartbeat::{Offline, Online, Timeout, Unknown};
    let gone = Inputs { vpn: false, heartbeat: Offline, ..WELL };
    let loading = Inputs { download: Some(40), ..WELL };
    let being_set_up = Inputs { configuring: true, provisioning: Some(70), ..WELL };
    let cases: Vec<(&str, Inputs, &str, &str, Option<u8>)> = vec![
        (
            "1: whoever is inactive is nothing else",
            Inputs { is_active: false, ..loading },
            "inactive",
            "inactive",
            None,
        ),
        (
            "1 before 2",
            Inputs { is_active: false, post_provisioning: true, ..being_set_up },
            "inactive",
            "inactive",
            None,
        ),
        (
            "2 before 4",
            Inputs { post_provisioning: true, provisioning: Some(5), ..gone },
            "post-provisioning",
            "post-provisioning",
            Some(5),
        ),
        (
            "2 before 5",
            Inputs { post_provisioning: true, provisioning: None, ..loading },
            "post-provisioning",
            "post-provisioning",
            None,
        ),
        ("3: never heard of", NEVER_BEFORE, "configuring", "configuring", None),
        (
            "3 with its progress",
            Inputs { provisioning: Some(1), configuring: true, ..NEVER_BEFORE },
            "configuring",
            "configuring",
            Some(1),
        ),
        ("4: gone", gone, "disconnected", "offline", None),
        (
            "4: it had a tunnel and never polled",
            Inputs { heartbeat: Unknown, ..gone },
            "disconnected",
            "offline",
            None,
        ),
        (
            "4: it polled and never had a tunnel",
            Inputs { had_tunnel: false, ..gone },
            "disconnected",
            "offline",
            None,
        ),
        ("4 before 5", Inputs { download: Some(40), ..gone }, "disconnected", "offline", None),
        (
            "4 before 6",
            Inputs { configuring: true, provisioning: Some(70), ..gone },
            "disconnected",
            "offline",
            None,
        ),
        ("5: loading", loading, "updating", "updating", Some(40)),
        ("5 while it times out", Inputs { heartbeat: Timeout, ..loading }, "updating", "updating", Some(40)),
        (
            "5 takes a heartbeat in v7 only",
            Inputs { heartbeat: Offline, ..loading },
            "reduced-functionality",
            "updating",
            Some(40),
        ),
        (
            "5 before 6",
            Inputs { configuring: true, provisioning: Some(70), ..loading },
            "updating",
            "updating",
            Some(40),
        ),
        ("6: being set up", being_set_up, "configuring", "configuring", Some(70)),
        ("6 before 8", Inputs { heartbeat: Timeout, ..being_set_up }, "configuring", "configuring", Some(70)),
        (
            "6 without a number",
            Inputs { provisioning: None, ..being_set_up },
            "configuring",
            "configuring",
            None,
        ),
        ("9: all is well", WELL, "operational", "idle", None),
        (
            "8: tunnel, heartbeat times out",
            Inputs { heartbeat: Timeout, ..WELL },
            "reduced-functionality",
            "idle",
            None,
        ),
        (
            "8: tunnel, no heartbeat",
            Inputs { heartbeat: Offline, ..WELL },
            "reduced-functionality",
            "idle",
            None,
        ),
        (
            "8: tunnel, it never polled",
            Inputs { heartbeat: Unknown, ..WELL },
            "reduced-functionality",
            "idle",
            None,
        ),
        ("8: heartbeat only", Inputs { vpn: false, ..WELL }, "reduced-functionality", "idle", None),
        (
            "8: heartbeat only, timing out",
            Inputs { vpn: false, heartbeat: Timeout, ..WELL },
            "reduced-functionality",
            "idle",
            None,
        ),
        (
            "9: heartbeat alone is enough where no tunnel is wanted",
            Inputs { vpn: false, vpn_wanted: false, ..WELL },
            "operational",
            "idle",
            None,
        ),
        (
            "8: it times out where no tunnel is wanted",
            Inputs { vpn: false, vpn_wanted: false, heartbeat: Timeout, ..WELL },
            "reduced-functionality",
            "idle",
            None,
        ),
        (
            "9: with a tunnel that is not wanted",
            Inputs { vpn_wanted: false, heartbeat: Online, ..WELL },
            "operational",
            "idle",
            None,
        ),
    ];
    for (what, inputs, v7, v6, progress) in cases {
        assert_eq!(inputs.overall_status(Version::V7), v7, "{what}");
        assert_eq!(inputs.overall_status(Version::V6), v6, "{what}");
        assert_eq!(inputs.overall_progress(), progress, "{what}");
    }
}

fn device(facets: Facets) -> Device {
    let mut device = Device::new(Timestamp::from_millis(0), 0, Timestamp::NEVER);
    device.facets = facets;
    device
}

fn dated<T>(value: T) -> Option<Dated<T>> {
    Some(Dated { value, set_at: Timestamp::from_millis(0) })
}

#[test]
fn a_plain_device_is_what_the_one_word_for_people_says() {
    for (overall, v7, v6) in [
        (Overall::Unknown, "unknown", "unknown"),
        (Overall::Online, "operational", "idle"),
        (Overall::Configuring, "configuring", "configuring"),
        (Overall::Updating, "updating", "updating"),
        (Overall::Offline, "disconnected", "offline"),
        (Overall::PostProvisioning, "post-provisioning", "post-provisioning"),
        (Overall::Inactive, "inactive", "inactive"),
    ] {
        let cells = Cells::of(&device(Facets { overall, ..Facets::START }), 0);
        assert!(is_plain(&cells));
        assert_eq!(overall_status(Version::V7, &cells), v7);
        assert_eq!(overall_status(Version::V6, &cells), v6);
    }
}

#[test]
fn a_plain_device_is_online_by_its_own_connections() {
    let has = |facets: Facets| has_tunnel(&Cells::of(&device(facets), 0));
    assert!(!has(Facets::START));
    assert!(has(Facets { connection: Connection::Connected, ..Facets::START }));
    assert!(has(Facets { push: Push::Online, ..Facets::START }), "a long poll is a push connection");
    assert!(!has(Facets {
        availability: Availability::Available,
        overall: Overall::Online,
        ..Facets::START
    }));
    let maintained =
        Facets { availability: Availability::Maintenance, push: Push::Maintenance, ..Facets::START };
    assert!(has(Facets { overall: Overall::Online, ..maintained }));
    assert!(!has(Facets { overall: Overall::Unknown, ..maintained }));
    // Whoever had a tunnel is online by it, and by nothing else.
    let tunnelled =
        Facets { connection: Connection::Connected, vpn: Connection::Disconnected, ..Facets::START };
    assert!(!has(tunnelled));
    assert!(has(Facets { vpn: Connection::Connected, ..tunnelled }));
}

#[test]
fn the_inputs_are_the_facts_of_the_device() {
    let online = Facets { vpn: Connection::Connected, heartbeat: Heartbeat::Online, ..Facets::START };
    let mut one = device(Facets { overall: Overall::Configuring, ..online });
    let stage = |stage: Stage, progress| {
        dated(LifecycleFact { stage, stage_since: Timestamp::from_millis(0), progress })
    };
    one.lifecycle = stage(Stage::Configuring, Some(30));
    one.update = dated(Update { phase: UpdatePhase::Downloading, progress: Some(60) });
    one.poll_settings = dated(PollSettings { poll_interval_seconds: None, vpn_expected: false });
    let cells = Cells::of(&one, 0);
    let expected =
        Inputs { download: Some(60), configuring: true, provisioning: Some(30), vpn_wanted: false, ..WELL };
    assert_eq!(Inputs::of(&cells), expected, "both at once: the native word shows one of them only");
    assert_eq!((status(&cells), provisioning_progress(&cells)), ("Downloading", Some(30)));
    assert_eq!(cells.progress(), Some(30), "as the native API has it");
    one.update = dated(Update { phase: UpdatePhase::Downloading, progress: None });
    assert_eq!(download_progress(&Cells::of(&one, 0)), Some(0), "it has just begun");
    for (phase, word) in
        [(UpdatePhase::Installing, "Installing"), (UpdatePhase::Done, "Idle"), (UpdatePhase::Failed, "Idle")]
    {
        one.update = dated(Update { phase, progress: Some(100) });
        let cells = Cells::of(&one, 0);
        assert_eq!((status(&cells), download_progress(&cells)), (word, None));
    }
    // A stage that is complete is over; one without a number is not.
    one.lifecycle = stage(Stage::Active, Some(100));
    let cells = Cells::of(&one, 0);
    assert_eq!((Inputs::of(&cells).configuring, provisioning_progress(&cells)), (false, None));
    one.lifecycle = stage(Stage::Configuring, None);
    let cells = Cells::of(&one, 0);
    assert_eq!((Inputs::of(&cells).configuring, provisioning_progress(&cells)), (true, None));
    one.facets.overall = Overall::PostProvisioning;
    assert_eq!(provisioning_state(&Cells::of(&one, 0)), "Post-Provisioning");
}
