package dashboard

import (
	"time"

	"github.com/pullgate/pullgate/internal/operate"
)

// bucketStep is by how much it has to be longer ago that the bucket was read to be told.
const bucketStep = 10 * time.Second

// seenBy makes what is known of a fleet what an audience sees. Addresses of other gateways,
// and the bucket, are for those who see all.
func seenBy(a *audience, c *operate.StoreStatus) {
	if !a.all {
		c.Bucket, c.Peers = nil, nil
	}
	if c.Bucket == nil {
		return
	}
	b := *c.Bucket
	// The bucket is asked all the time whether anything was removed, which is no news.
	b.Reads, b.Writes, b.PurgesRead = rounded(b.Reads), rounded(b.Writes), b.PurgesRead.Truncate(bucketStep)
	c.Bucket = &b
}

// rounded returns the first three digits of a count, and of one of three the first two.
func rounded(n int64) int64 {
	step := int64(1)
	for n/step >= 100 && (step == 1 || n/step >= 1000) {
		step *= 10
	}
	return n - n%step
}
