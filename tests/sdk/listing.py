"""The vendors' own clients in Python list a whole fleet: prints how many they found, and how many of those differ.

    REQUESTS_CA_BUNDLE=cert.pem listing.py watson PORT ORG TOKEN
    listing.py cumulocity URL TENANT TOKEN
"""

import sys

face, where, tenant, token = sys.argv[1:]


def watson():
    import socket

    import wiotp.sdk.application

    resolve = socket.getaddrinfo

    # As in watson.py: the client builds the host from the organization.
    def localhost(host, *rest, **named):
        return resolve("127.0.0.1" if str(host).endswith(".localhost") else host, *rest, **named)

    socket.getaddrinfo = localhost
    client = wiotp.sdk.application.ApplicationClient(
        {"auth": {"key": "a-%s-k3y" % tenant, "token": token}, "options": {"domain": "localhost:%s" % where}}
    )
    return (state["id"] for state in client.registry.connectionStatus)


def cumulocity():
    from c8y_api import CumulocityApi

    return (one.id for one in CumulocityApi(where, tenant, "lee", token).inventory.select(page_size=1000))


count, ids = 0, set()
for one in {"watson": watson, "cumulocity": cumulocity}[face]():
    count += 1
    ids.add(one)
print(count, len(ids))
