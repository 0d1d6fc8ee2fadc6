"""`kubectl gpupack`: answers questions about a cluster that shares GPUs, over the API server alone.

It reads nodes and pods, decodes them with `extender.decoding.decoder`, puts them into the Ledger of the extender and
answers from that: nothing is computed a second way. It never runs in the server, and the server never imports it.

A command is one module with a click command, and a row in `cli.COMMANDS`:

    @click.command()
    @common_options                      # --kubeconfig, -n, -o, --watch ...: one `Options` in the first argument
    @click.option("--copies", default=1)
    def command(options: Options, copies: int) -> None:
        \"\"\"One line for the list of commands.\"\"\"
        run(options, lambda session: simulated(session.view(), copies))

    def simulated(view: ClusterView, copies: int) -> Answer: ...

`run` connects, asks, writes, repeats with --watch and exits. The question takes a Session (`view()`, `items(path)`,
`read(path)`, `namespace()`, `ask_extender(path)`) and returns an Answer: a document for -o json and yaml, Tables and
Lines for people, and an exit code. What is computed from a ClusterView is a pure function.
Failures are `No` (exit code 1), `BadUsage` (2) and `Unreachable` (3), each one clear line.
"""
