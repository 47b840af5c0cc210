use proptest::prelude::*;

use super::*;
use crate::domain::device::{Dated, Device};
use crate::domain::event::{ChannelKind, Update, UpdatePhase};
use crate::domain::facet::{Connection, Facets, Heartbeat, Overall};
use crate::http::face::balena::Version;
use crate::http::face::balena::find::{Kept, Order, Search, alike};
use crate::http::face::balena::ids::DeviceIds;
use crate::http::face::balena::syntax;
use crate::query::fleet::Fleet;
use crate::wire::partition;

const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);
const PARTITIONS: u32 = 4;

fn scope() -> Scope<'static> {
    Scope { version: Version::V7, tenant: "acme", ids: DeviceIds::new("acme", PARTITIONS) }
}

fn read(text: &str) -> Result<Test, Wrong> {
    check(&syntax::filter(text, NOW)?, Resource::Device, NOW)
}

/// What a device of the model fleet is made of.
#[derive(Clone, Debug)]
struct Made {
    name: Option<String>,
    device_type: Option<&'static str>,
    vpn: Connection,
    heartbeat: Heartbeat,
    overall: Overall,
    loading: Option<u8>,
    updated: Option<i64>,
}

fn made() -> impl Strategy<Value = Made> {
    let pick = |all: &'static [Connection]| prop::sample::select(all);
    (
        prop::option::of("[abAB]{1,6}"),
        prop::option::of(prop::sample::select(vec!["pump", "Gate", "untyped"])),
        pick(Connection::ALL),
        prop::sample::select(Heartbeat::ALL),
        prop::sample::select(Overall::ALL),
        prop::option::of(0..100u8),
        prop::option::of(0..5i64),
    )
        .prop_map(|(name, device_type, vpn, heartbeat, overall, loading, updated)| Made {
            name,
            device_type,
            vpn,
            heartbeat,
            overall,
            loading,
            updated,
        })
}

fn fleet_of(all: &[Made]) -> Fleet {
    let mut fleet = Fleet::default();
    let mut numbers = [0; PARTITIONS as usize];
    for (made, place) in all.iter().zip(0..) {
        let mut device = Device::new(NOW, 0, Timestamp::NEVER);
        let text = |text: &str| Some(Dated { value: text.into(), set_at: NOW });
        device.registration.name = made.name.as_deref().and_then(text);
        device.registration.device_type = made.device_type.and_then(text);
        let Made { vpn, heartbeat, overall, .. } = *made;
        device.facets = Facets { vpn, heartbeat, overall, ..Facets::START };
        device.update = made.loading.map(|percent| Dated {
            value: Update { phase: UpdatePhase::Downloading, progress: Some(percent) },
            set_at: NOW,
        });
        device.last_updated =
            made.updated.map_or(Timestamp::NEVER, |at| Timestamp::from_millis(NOW.millis() + at));
        // Neither in the order of ids nor in that of names.
        let key = format!("acme/d{}", place * 7 % 31);
        let partition = partition::of(key.as_bytes(), PARTITIONS);
        fleet.put(partition, &key, &device, numbers[partition as usize]);
        numbers[partition as usize] += 1;
    }
    fleet
}

fn filters() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "is_online",
        "is_online eq false",
        "overall_status eq 'operational'",
        "overall_status in ('disconnected', 'updating')",
        "api_heartbeat_state ne 'online'",
        "overall_progress gt 50",
        "download_progress eq null",
        "belongs_to__application/app_name eq 'pump'",
        "belongs_to__application/any(a:a/slug eq 'acme/gate')",
        "is_of__device_type/slug eq 'untyped'",
        "startswith(device_name,'a')",
        "contains(tolower(device_name),'ab')",
        "device_name eq 'a'",
        "device_name eq 'd7'",
        "startswith(uuid,'d1')",
        "uuid in ('d1', 'd7', 'nobody')",
        "uuid eq 'd14'",
        "modified_at lt datetime'2026-01-01T00:00:00.003Z'",
        "modified_at ge '2026-01-01T00:00:00.003Z'",
        "modified_at eq null",
        "last_vpn_event eq null",
        "is_frozen",
        "1 eq 1",
    ]);
    let leaf = leaf.prop_map(str::to_owned);
    leaf.prop_recursive(3, 12, 3, |inner| {
        let all = prop::collection::vec(inner.clone(), 2..4);
        prop_oneof![
            all.clone().prop_map(|all| format!("({})", all.join(" or "))),
            all.prop_map(|all| all.join(" and ")),
            inner.prop_map(|one| format!("not ({one})")),
        ]
    })
}

proptest! {
    #[test]
    fn a_search_finds_what_a_slow_reading_finds_in_its_order(
        all in prop::collection::vec(made(), 1..31),
        text in filters(),
        order in prop::collection::vec((prop::sample::select(DeviceField::ALL), any::<bool>()), 0..3),
        size in 1..9usize,
        skip in 0..5usize,
    ) {
        let fleet = fleet_of(&all);
        let (scope, tenant) = (scope(), fleet.tenant("acme").unwrap());
        let test = read(&text).unwrap();
        let predicate = Predicate::of(Some(test.clone()));
        let search = Search { scope: &scope, fleet: &fleet, tenant, predicate: &predicate };
        // Slowly: every device by itself, all of them sorted.
        let order: Order = order.into_iter().map(|(field, is_descending)| (Field::Device(field), is_descending)).collect();
        let mut expected: Vec<u32> = tenant.behind("").collect();
        expected.retain(|index| {
            let seen = Seen::of(tenant, *index);
            test.holds(&|field| scope.of_device(field, &seen))
        });
        prop_assert_eq!(search.count(), expected.len() as u64, "{}", text);
        let by_type: u64 = search.count_by_type().iter().sum();
        prop_assert_eq!(by_type, expected.len() as u64, "{}", text);
        expected.sort_by(|a, b| {
            let (a, b) = (Seen::of(tenant, *a), Seen::of(tenant, *b));
            for (field, is_descending) in &order {
                let (x, y) = (scope.of_device(*field, &a), scope.of_device(*field, &b));
                let by = match (&x, &y) {
                    (Val::Null, Val::Null) => std::cmp::Ordering::Equal,
                    (Val::Null, _) => std::cmp::Ordering::Greater,
                    (_, Val::Null) => std::cmp::Ordering::Less,
                    (Val::Text(x), Val::Text(y)) if *field == Field::Device(DeviceField::DeviceName) => alike(x, y),
                    (x, y) => x.compare(y).unwrap(),
                };
                if by.is_ne() {
                    return if *is_descending { by.reverse() } else { by };
                }
            }
            a.id.cmp(b.id)
        });
        expected.drain(..skip.min(expected.len()));
        let (mut found, mut after, mut skip) = (Vec::new(), None::<Kept>, skip);
        loop {
            let rows = search.first(&order, after.as_ref(), skip, size);
            prop_assert!(rows.len() <= size);
            let Some(last) = rows.last() else { break };
            after = Some(Kept::of(tenant, *last));
            found.extend(rows);
            skip = 0;
        }
        let ids = |rows: &[u32]| rows.iter().map(|index| tenant.row(*index).id().to_owned()).collect::<Vec<_>>();
        prop_assert_eq!(ids(&found), ids(&expected), "{}", text);
    }
}

#[test]
fn ids_lead_to_devices_and_to_nobody_else() {
    let made = Made {
        name: None,
        device_type: None,
        vpn: Connection::Unknown,
        heartbeat: Heartbeat::Unknown,
        overall: Overall::Unknown,
        loading: None,
        updated: None,
    };
    let fleet = fleet_of(&vec![made; 9]);
    let (scope, tenant) = (scope(), fleet.tenant("acme").unwrap());
    let found = |text: &str| {
        let predicate = Predicate::of(Some(read(text).unwrap()));
        let search = Search { scope: &scope, fleet: &fleet, tenant, predicate: &predicate };
        let rows = search.first(&Order::new(), None, 0, 10);
        rows.into_iter().map(|index| tenant.row(index).id().to_owned()).collect::<Vec<_>>()
    };
    let id = |name: &str| scope.ids.id(name, tenant.row(tenant.find(name).unwrap()).number);
    assert_eq!(found(&format!("id eq {}", id("d7"))), ["d7"]);
    assert_eq!(found(&format!("id in ({}, 1, {}, {})", id("d7"), id("d14"), id("d7"))), ["d14", "d7"]);
    assert_eq!(found(&format!("id eq {} and uuid eq 'd14'", id("d7"))), [""; 0]);
    assert_eq!(found("id eq 1.5"), [""; 0]);
    assert_eq!(found(&format!("not (id eq {})", id("d7"))).len(), 8);
}

#[test]
fn when_a_tunnel_came_or_went_is_known_and_forgotten_with_the_device() {
    let mut fleet = Fleet::default();
    let mut device = Device::new(NOW, 0, Timestamp::NEVER);
    fleet.put(0, "acme/plain", &device, 0);
    device.facets.vpn = Connection::Disconnected;
    let mut channel = crate::domain::channel::Channel::new(ChannelKind::Vpn);
    channel.recorded = Some(crate::domain::session::Disconnect {
        at: NOW,
        initiator: crate::domain::event::Initiator::Network,
        reason_code: None,
    });
    device.channels.push(channel);
    fleet.put(0, "acme/tunnelled", &device, 1);
    let of = |fleet: &Fleet, id: &str| {
        let tenant = fleet.tenant("acme").unwrap();
        let seen = Seen::of(tenant, tenant.find(id).unwrap());
        let value = |field| scope().of_device(Field::Device(field), &seen).owned();
        (value(DeviceField::LastVpnEvent), value(DeviceField::LastConnectivityEvent))
    };
    assert_eq!(of(&fleet, "plain"), (Val::Null, Val::Null));
    assert_eq!(of(&fleet, "tunnelled"), (Val::Time(NOW), Val::Time(NOW)));
    // Its row becomes another's.
    fleet.remove(0, "acme/tunnelled");
    fleet.put(0, "acme/heir", &Device::new(NOW, 0, Timestamp::NEVER), 1);
    assert_eq!(of(&fleet, "heir"), (Val::Null, Val::Null));
}

#[test]
fn what_is_not_there_and_what_cannot_be_compared_is_told_with_its_place() {
    for (text, told) in [
        (
            "is_onlin",
            "at character 1: \"is_onlin\" is no property of device that is served; served are id, uuid, device_name",
        ),
        ("is_online and colour eq 1", "at character 15: \"colour\" is no property of device"),
        (
            "belongs_to__application/colour eq 1",
            "is no property of application that is served; served are id, uuid, app_name",
        ),
        ("owns__device/any(d:d/id eq 1)", "\"owns__device\" is no property of device"),
        ("is_online eq 'yes'", "true or false cannot be compared with a text"),
        ("overall_progress in (1, 'a')", "a number cannot be compared with a text"),
        ("modified_at lt 5", "a time cannot be compared with a number"),
        ("modified_at lt 'soon'", "\"soon\" is no time"),
        ("startswith(id,'1')", "both must be texts"),
        ("tolower(is_online) eq 'true'", "only texts have letters"),
        ("uuid", "neither true nor false"),
        ("uuid in (device_name)", "in (…) takes texts"),
    ] {
        let wrong = read(text).unwrap_err().to_string();
        assert!(wrong.contains(told), "{text}: {wrong}");
    }
    assert!(read("belongs_to__application/any(bta:bta/organization eq 5)").is_ok());
    assert!(read("belongs_to__application eq 5").is_ok());
}
