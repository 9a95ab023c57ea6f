"""The ratchet: propose, check, train, score, decide, keep or discard; and the records that outlive a crash."""
