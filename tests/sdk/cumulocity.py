"""The vendor's own client, c8y_api, asks a service: prints what it finds, a line of JSON for each question.

    cumulocity.py URL TENANT OPERATOR_TOKEN AUDITOR_TOKEN
"""

import json
import sys

from c8y_api import CumulocityApi
from c8y_api.model import Alarm

url, tenant, operator, auditor = sys.argv[1:]
c8y = CumulocityApi(url, tenant, "kim", operator)


def told(question, ask):
    try:
        answer = ask()
    except Exception as error:
        answer = {type(error).__name__: str(error) or repr(error)}
    print(json.dumps({"question": question, "answer": answer}, default=str))


def ids(objects):
    return [one.id for one in objects]


def status(device_id):
    found = c8y.inventory.get_latest_availability(device_id)
    last = found.last_message and found.last_message_date.isoformat()
    return [found.device_id, found.external_id, found.data_status, found.connection_status, found.interval, last]


def maintenance(minutes):
    device = c8y.device_inventory.get("pump-1")
    device.c8y_RequiredAvailability.responseInterval = minutes
    device = device.update()
    return [device.c8y_Availability.status, device.c8y_RequiredAvailability.responseInterval]


def without_interval():
    device = c8y.device_inventory.get("pump-1")
    device["c8y_RequiredAvailability"] = None
    return "c8y_RequiredAvailability" in device.update()


def one(device_id):
    found = c8y.inventory.get(device_id)
    fragments = [found.c8y_Availability.status, found.c8y_Connection.status, found.c8y_RequiredAvailability.responseInterval]
    return [found.name, found.type, found.is_device, *fragments, found.update_datetime.isoformat()]


def acknowledge(source):
    alarm = c8y.alarms.get_all(source=source)[0]
    alarm.status = Alarm.Status.ACKNOWLEDGED
    alarm = alarm.update()
    return [alarm.status, c8y.alarms.get(alarm.id).status]


UNAVAILABLE = "c8y_Availability.status eq 'UNAVAILABLE'"
told("all", lambda: ids(c8y.inventory.select()))
told("devices", lambda: ids(c8y.device_inventory.select(page_size=10)))
told("how many", lambda: [c8y.inventory.get_count(), c8y.device_inventory.get_count()])
told("by type", lambda: ids(c8y.inventory.get_all(type="pump")))
told("by name", lambda: ids(c8y.device_inventory.get_all(name="Pump 1")))
told("by fragment", lambda: ids(c8y.inventory.get_all(fragment="c8y_RequiredAvailability")))
told("by ids", lambda: ids(c8y.inventory.get_all(ids=["pump-2", "gate-1"])))
told("by query", lambda: ids(c8y.device_inventory.get_all(query="$filter=(%s)" % UNAVAILABLE)))
told("groups", lambda: ids(c8y.group_inventory.get_all()))
told("ordered", lambda: ids(c8y.device_inventory.get_all(fragment="c8y_RequiredAvailability", order_by="lastUpdated desc")))
told("one", lambda: one("pump-1"))
told("nobody", lambda: one("pump-9"))
told("availability", lambda: status("pump-1"))
told("availability of one without an interval", lambda: status("plain"))
told("maintenance", lambda: maintenance(-600))
told("maintenance is over", lambda: maintenance(600))
told("another name", lambda: c8y.inventory.apply_to({"name": "Pump"}, "pump-1"))
told("alarms", lambda: [[a.source, a.type, a.severity, a.status, a.text, a.datetime.isoformat()] for a in c8y.alarms.select(source="pump-2")])
told("oldest alarms first", lambda: [a.source for a in c8y.alarms.select(reverse=True)])
told("alarms counted", lambda: [c8y.alarms.count(severity="MAJOR"), c8y.alarms.count(status="CLEARED")])
told("acknowledged", lambda: acknowledge("pump-2"))
told("all cleared", lambda: c8y.alarms.apply_by(Alarm(status=Alarm.Status.CLEARED), source="silent-2"))
told("deleted", lambda: c8y.alarms.delete_by(source="pump-2"))
told("heartbeat", lambda: c8y.inventory.apply_to({}, "pump-2"))
told("no interval", without_interval)
told("audit", lambda: [[r.type, r.activity, r.user, r.source] for r in CumulocityApi(url, tenant, "ada", auditor).audit_records.select(source="pump-1", type="Devices availability monitoring")])
told("audit of an operator", lambda: c8y.audit_records.get_all(source="pump-1"))
told("another tenant", lambda: ids(CumulocityApi(url, "other", "kim", operator).inventory.get_all()))
told("events", lambda: ids(c8y.events.get_all()))
