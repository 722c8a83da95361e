"""Record what an AI agent does, what it costs and how its host fares, at no cost to the agent."""

__version__ = "0.1.0"
