#!/usr/bin/env python3
"""libtorrent as one end of an exchange on a private DHT.

lt_node.py seed PATH    --listen IP:PORT --bootstrap IP:PORT    prints the magnet, then seeds
lt_node.py get MAGNET DIR --listen IP:PORT --bootstrap IP:PORT  exits when the files are written

Peers come from the DHT alone. libtorrent's defences against many nodes in one network are switched
off, because a private network is exactly that.
"""
import argparse
import os
import sys
import time

import libtorrent as lt


def settings(listen, bootstrap):
    ip = listen.rsplit(":", 1)[0]
    return {
        "listen_interfaces": listen,
        "outgoing_interfaces": ip,
        "enable_dht": True,
        "dht_bootstrap_nodes": bootstrap,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "enable_outgoing_utp": False,
        "enable_incoming_utp": False,
        "allow_multiple_connections_per_ip": True,
        "dht_restrict_routing_ips": False,
        "dht_restrict_search_ips": False,
        "dht_prefer_verified_node_ids": False,
        "dht_ignore_dark_internet": False,
        "alert_mask": lt.alert.category_t.error_notification
        | lt.alert.category_t.status_notification
        | lt.alert.category_t.dht_notification,
    }


def torrent_of(path):
    files = lt.file_storage()
    lt.add_files(files, path)
    torrent = lt.create_torrent(files, 0, lt.create_torrent.v1_only)
    lt.set_piece_hashes(torrent, os.path.dirname(path))
    return lt.torrent_info(torrent.generate())


def wait_for_dht(session, seconds):
    """An announce that starts before the table is filled reaches nobody."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        session.wait_for_alert(200)
        if any(isinstance(a, lt.dht_bootstrap_alert) for a in session.pop_alerts()):
            return
    print("no answer from the DHT", file=sys.stderr)


def report(session):
    for alert in session.pop_alerts():
        if alert.category() & lt.alert.category_t.error_notification:
            print(alert.message(), file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", choices=["seed", "get"])
    parser.add_argument("what", help="the file or folder to seed, or the magnet to fetch")
    parser.add_argument("dir", nargs="?", help="where the fetched files go")
    parser.add_argument("--listen", required=True)
    parser.add_argument("--bootstrap", required=True)
    args = parser.parse_args()

    session = lt.session(settings(args.listen, args.bootstrap))
    wait_for_dht(session, 20)
    if args.role == "seed":
        path = os.path.abspath(args.what)
        params = lt.add_torrent_params()
        params.ti = torrent_of(path)
        params.save_path = os.path.dirname(path)
        params.flags |= lt.torrent_flags.seed_mode
    else:
        params = lt.parse_magnet_uri(args.what)
        params.save_path = args.dir
    handle = session.add_torrent(params)
    if args.role == "seed":
        print(lt.make_magnet_uri(params.ti), flush=True)

    # The DHT is asked again every 15 minutes by default: too seldom for who came a second late.
    again = 0.0
    while args.role == "seed" or not handle.status().is_seeding:
        if time.monotonic() >= again:
            handle.force_dht_announce()
            again = time.monotonic() + 5
        session.wait_for_alert(200)
        report(session)
    # Ending the session waits for the disk.
    del handle, session


main()
