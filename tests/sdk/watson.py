"""The vendor's own client, wiotp-sdk, asks a service: prints what it finds, a line of JSON for each question.

    REQUESTS_CA_BUNDLE=cert.pem watson.py PORT ORG TOKEN

The client builds the host from the organization: ORG.localhost here, which is this machine (RFC 6761). Not every resolver
knows that, so it is told; nothing of the client is touched.
"""

import json
import socket
import sys

import wiotp.sdk.application
from wiotp.sdk.exceptions import ApiException

port, org, token = sys.argv[1:]
resolve = socket.getaddrinfo


def localhost(host, *rest, **named):
    return resolve("127.0.0.1" if str(host).endswith(".localhost") else host, *rest, **named)


socket.getaddrinfo = localhost
client = wiotp.sdk.application.ApplicationClient(
    {"auth": {"key": "a-%s-k3y" % org, "token": token}, "options": {"domain": "localhost:%s" % port}}
)
states = client.registry.connectionStatus
devices = client.registry.devices


def told(question, ask):
    try:
        answer = ask()
    except ApiException as error:
        answer = {"ApiException": error.message, "id": error.id}
    except Exception as error:
        answer = {type(error).__name__: str(error)}
    print(json.dumps({"question": question, "answer": answer}, default=str))


pump = "d:%s:pump:pump-1" % org
told("all", lambda: [state["id"] for state in states])
told("connected", lambda: [state["id"] for state in states.find(connectionStatus="connected")])
told("by type", lambda: [state["id"] for state in states.find(typeId="gate")])
told("by id", lambda: [state["id"] for state in states.find(typeId="pump", deviceId="pump-2")])
told("connected after", lambda: [state["id"] for state in states.find(connectedAfter="2025-12-31T22:20:00.000Z")])
told("one", lambda: states[pump])
told("is there", lambda: [pump in states, "d:%s:pump:pump-9" % org in states])
told("nobody", lambda: states["d:%s:pump:pump-9" % org])
told("device", lambda: devices[pump])
told("device is there", lambda: [pump in devices, "d:%s:pump:pump-9" % org in devices])
told("device as a text", lambda: str(devices[pump]))
told("connection log", lambda: [[entry.message, entry.timestamp.isoformat()] for entry in devices[pump].getConnectionLogs()])
told("all devices", lambda: [device["clientId"] for device in devices])
told("location", lambda: devices[pump].getLocation())
