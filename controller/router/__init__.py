"""The router side: follow plans, choose deployments, acknowledge. Needs no Faust."""
