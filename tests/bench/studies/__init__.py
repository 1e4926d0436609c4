"""Studies, one per file: measurements that explain the keys and have no ratio to reach. Each adds a table.

A study's file has measure(bench, say), and QUICK = True if it is also part of the quick benchmark.
"""
