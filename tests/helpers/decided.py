"""Programs without their switches: the constants that manifest.py turns off."""

import ast


class Decided(ast.NodeTransformer):
    """Takes the switches out of a program: what is behind one that is on is there, and only that.

    switches: {name of the constant: whether it is on}.
    """

    def __init__(self, switches):
        self.switches = switches

    def _value(self, test):
        # True or False where only switches say it, else None.
        if isinstance(test, ast.Name):
            return self.switches.get(test.id)
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            value = self._value(test.operand)
            return None if value is None else not value
        if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
            values = [self._value(part) for part in test.values]
            return False if False in values else None if None in values else True
        if isinstance(test, ast.BoolOp):
            values = [self._value(part) for part in test.values]
            return True if True in values else None if None in values else False
        return None

    def visit_If(self, node):
        self.generic_visit(node)
        value = self._value(node.test)
        if value is None:
            return node
        return (node.body if value else node.orelse) or None

    def visit_BoolOp(self, node):
        self.generic_visit(node)
        if isinstance(node.op, ast.And):
            if self._value(node) is False:
                return ast.Constant(False)
            node.values = [part for part in node.values if not self._value(part)]
            if len(node.values) == 1:
                return node.values[0]
        return node

    def visit_Assign(self, node):
        self.generic_visit(node)
        return None if getattr(node.targets[0], "id", None) in self.switches else node
