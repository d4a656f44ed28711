"""PG3's half of the wire, as far as a plugin needs it: keeps custom data, answers `config`, `getAll` and `set`.

PG3 itself is not public; what it does is what udi_interface expects of it. Tells the test what plugins saved.
"""

import json
import os
import sys

import paho.mqtt.client as mqtt

port, name = int(sys.argv[1]), sys.argv[2]
custom = json.loads(sys.argv[3])


def answer(client, message):
    client.publish(f"udi/pg3/ns/clients/{name}", json.dumps(message), qos=1)


def connected(client, _data, _flags, _reason, _properties):
    client.subscribe([(f"udi/pg3/ns/system/{name}", 1), (f"udi/pg3/ns/custom/{name}", 1)])


def subscribed(*_):
    print(json.dumps({"what": "ready"}), flush=True)


def came(client, _data, message):
    for key, wanted in json.loads(message.payload).items():
        if key == "config":
            answer(client, {"config": {"nodes": []}})
        elif key == "getNsInfo":
            answer(client, {"getNsInfo": {}})
        elif key == "getAll":
            answer(client, {"getAll": [{"key": k, "value": json.dumps(v)} for k, v in custom.items()]})
        elif key == "set":
            for pair in wanted:
                custom[pair["key"]] = pair["value"]
                print(json.dumps({"what": "set", "key": pair["key"], "value": pair["value"]}), flush=True)
            answer(client, {"set": [{pair["key"]: pair["value"], "success": True} for pair in wanted]})


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "pg3")
client.username_pw_set("pg3", os.environ["PG3_PASSWORD"])
client.on_connect, client.on_subscribe, client.on_message = connected, subscribed, came
client.connect("127.0.0.1", port)
client.loop_forever()
