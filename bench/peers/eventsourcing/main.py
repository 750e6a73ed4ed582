"""Python's eventsourcing on its Postgres module. Two processes, as one interpreter runs one thread at a time, with half
of the clients each, as threads."""

import argparse
import json
import multiprocessing
import sys
import threading
import time
import urllib.parse

from eventsourcing.persistence import PersistenceError

from orders import EVENTS_BEFORE, Orders, example_line

VERSION = "9.5.6"
PROCESSES = 2
CONNECTIONS = 8  # of each process
WARM_UP = 200


def application(url: str, create_table: bool = False) -> Orders:
    at = urllib.parse.urlsplit(url)
    if at.scheme not in ("postgres", "postgresql") or not at.hostname or not at.path.strip("/"):
        raise ValueError("--url must be postgres://user:password@host:port/database")
    return Orders(
        env={
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_HOST": at.hostname,
            "POSTGRES_PORT": str(at.port or 5432),
            "POSTGRES_USER": urllib.parse.unquote(at.username or ""),
            "POSTGRES_PASSWORD": urllib.parse.unquote(at.password or ""),
            "POSTGRES_DBNAME": urllib.parse.unquote(at.path.strip("/")),
            "POSTGRES_POOL_SIZE": str(CONNECTIONS),
            "POSTGRES_MAX_OVERFLOW": "0",
            "CREATE_TABLE": "yes" if create_table else "no",  # By one process: two at once would collide.
        }
    )


def client(orders: Orders, todo, took: list, failures: list) -> None:
    """Takes the next command as soon as the last one is answered."""
    for order_id in todo:
        start = time.monotonic()
        try:
            orders.place() if order_id is None else orders.add_line(order_id, example_line())
        except Exception as error:  # Whatever it is, the command failed.
            failures.append(f"{type(error).__name__}: {error}")
        else:
            took.append(time.monotonic() - start)


def run(orders: Orders, clients: int, todo: list) -> tuple[list, list]:
    took, failures, todo = [], [], iter(todo)  # A list's iterator can be shared by threads.
    threads = [threading.Thread(target=client, args=(orders, todo, took, failures)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return took, failures


def process(args, index: int, barrier, results) -> None:
    """One interpreter with its share of clients and commands."""
    try:
        warm_up, commands, clients = (share(n, index) for n in (WARM_UP, args.commands, args.clients))
        orders = application(args.url)
        todo = orders.fill(warm_up + commands) if args.workload == "existing" else [None] * (warm_up + commands)
        barrier.wait()
        if index == 0:
            orders.analyze()
        before = run(orders, clients, todo[:warm_up])
        barrier.wait()
        start = time.monotonic()
        took, failures = run(orders, clients, todo[warm_up:])
        results.put((start, time.monotonic(), took, failures, len(before[0])))
        orders.close()
    except Exception as error:
        barrier.abort()
        results.put(f"{type(error).__name__}: {error}")


def share(total: int, index: int) -> int:
    return total // PROCESSES + (index < total % PROCESSES)


def bench(args) -> dict:
    try:
        orders = application(args.url, create_table=True)
        before = orders.count()
    except PersistenceError as error:
        raise RuntimeError(f"cannot use {args.url.rpartition('@')[2]}; start Postgres there: {error}") from error
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(PROCESSES), context.Queue()
    processes = [context.Process(target=process, args=(args, i, barrier, results)) for i in range(PROCESSES)]
    for child in processes:
        child.start()
    answers = [results.get() for _ in processes]
    for child in processes:
        child.join()
    failed = sorted((a for a in answers if isinstance(a, str)), key=lambda a: a.startswith("BrokenBarrierError"))
    if failed:
        raise RuntimeError(failed[0])
    starts, ends, tooks, failures, warmed_up = zip(*answers)
    took, failures = sorted(sum(tooks, [])), sum(failures, [])
    if failures:
        print(f"eventsourcing: a command failed: {failures[0]}", file=sys.stderr)
    expected = before + len(took) + sum(warmed_up)
    if args.workload == "existing":
        expected += EVENTS_BEFORE * (WARM_UP + args.commands)
    found = orders.count()
    if found != expected:
        raise RuntimeError(f"the store has {found} events, not {expected}; run it in a store of its own")
    return {
        "peer": "eventsourcing",
        "version": VERSION,
        "workload": args.workload,
        "clients": args.clients,
        "commands": args.commands,
        "failed": len(failures),
        "seconds": round(max(ends) - min(starts), 3),
        "p50_ms": percentile_ms(took, 50),
        "p99_ms": percentile_ms(took, 99),
    }


def percentile_ms(took: list, percent: int) -> float:
    index = max(-(-len(took) * percent // 100) - 1, 0)
    return round(took[index] * 1000, 3) if took else 0.0


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


class Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise ValueError(f"{message}; use --workload new|existing --commands N --clients N --url URL")


def main() -> None:
    parser = Parser(add_help=False)
    parser.add_argument("--workload", choices=["new", "existing"], required=True)
    parser.add_argument("--commands", type=positive, required=True)
    parser.add_argument("--clients", type=positive, required=True)
    parser.add_argument("--url", required=True)
    try:
        args = parser.parse_args()
        if args.clients < PROCESSES:
            raise ValueError(f"--clients must be at least {PROCESSES}, one for each process")
        print(json.dumps(bench(args), separators=(",", ":")))
    except Exception as error:
        print("eventsourcing:", " ".join(str(error).split()), file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
