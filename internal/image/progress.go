package image

import (
	"maps"
	"slices"
)

func (p *preload) progress() PreloadProgress {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := PreloadProgress{Images: p.done, Failed: p.failed, Total: p.total, Bytes: p.bytes}
	for _, n := range slices.Sorted(maps.Keys(p.running)) {
		l := p.running[n]
		now.Bytes += l.added.Load()
		now.Running = append(now.Running, Running{Image: l.Image, Bytes: l.present.Load(), Size: l.size.Load()})
	}
	return now
}
