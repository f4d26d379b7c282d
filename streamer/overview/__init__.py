"""Reading how everything stands: brokers, workers, lags, streams, incidents, dead letters, models. Writes nothing."""
