package fleet

import "time"

// Relax gives the bucket as much time as a slow machine takes.
func (f *Fleet) Relax() { f.budget = time.Minute }
