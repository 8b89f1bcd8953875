package dashboard

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/pullgate/pullgate/internal/image"
	"github.com/pullgate/pullgate/internal/imagelist"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/operate"
)

// actHeader is a header that a page of another origin cannot set.
const actHeader = "X-Pullgate-Action"

// mayAct refuses a request that changes something, unless that is turned on and the
// page itself has sent it.
func (d *run) mayAct(r *http.Request) error {
	if !d.allowed.acts(d.user(r)) {
		return refuse(http.StatusForbidden, "to you, this dashboard only shows: the option actions of registry_mirror_dashboard lets it do more, for everybody or for the users that it names")
	}
	origin, err := url.Parse(r.Header.Get("Origin"))
	site := r.Header.Get("Sec-Fetch-Site") // which browsers send to trustworthy origins only
	if err != nil || origin.Host == "" || origin.Host != r.Host || site != "" && site != "same-origin" || r.Header.Get(actHeader) == "" {
		return refuse(http.StatusForbidden, "only the dashboard itself may ask for that")
	}
	return nil
}

// pinVerb is one of a gateway that changes pins.
type pinVerb func(context.Context, operate.PinRequest, func(operate.PinLine)) error

// pin keeps what a pattern means from being evicted.
func (d *run) pin(q *query) (any, error) { return d.changePin(q, d.gateway.Pin) }

// unpin drops a pin.
func (d *run) unpin(q *query) (any, error) { return d.changePin(q, d.gateway.Unpin) }

func (d *run) changePin(q *query, change pinVerb) (any, error) {
	p, err := oci.ParsePin(q.Get("pattern"))
	if err != nil {
		return nil, refuse(http.StatusBadRequest, err.Error())
	}
	if !q.audience.sees(p.Upstream) {
		return nil, refuse(http.StatusNotFound, "no upstream of yours is "+p.Upstream)
	}
	var report *operate.PinReport
	failed := ""
	err = change(q.Context(), operate.PinRequest{Pin: p}, func(line operate.PinLine) {
		if line.Error != "" {
			failed = line.Error
		} else if line.Report != nil {
			report = line.Report
		}
	})
	switch {
	case err != nil:
		return nil, err
	case report == nil:
		return nil, refuse(http.StatusConflict, cmp.Or(failed, "no storage is open"))
	}
	return report, nil
}

// remove takes an image, a repository or an upstream out of the store. With dry_run it
// tells what that would free.
func (d *run) remove(q *query) (any, error) {
	selection, err := oci.ParseSelection(q.Get("name"))
	if err != nil {
		return nil, refuse(http.StatusBadRequest, err.Error())
	}
	if !q.audience.sees(selection.Upstream) {
		return nil, refuse(http.StatusNotFound, "no upstream of yours is "+selection.Upstream)
	}
	dry := q.Get("dry_run") == "1"
	var total *operate.RemoveReport
	failed := ""
	err = d.gateway.Remove(q.Context(), operate.RemoveRequest{Selection: selection, DryRun: dry}, func(line operate.RemoveLine) {
		switch {
		case line.Error != "":
			failed = line.Error
		case line.Report != nil:
			if total == nil {
				total = &operate.RemoveReport{}
			}
			total.Tags, total.Manifests, total.Blobs = total.Tags+line.Report.Tags, total.Manifests+line.Report.Manifests, total.Blobs+line.Report.Blobs
			total.Fleet = line.Report.Fleet
			total.Bytes, total.Shared, total.InUse = total.Bytes+line.Report.Bytes, total.Shared+line.Report.Shared, total.InUse+line.Report.InUse
		}
	})
	if !dry {
		d.images.changed()
	}
	switch {
	case err != nil:
		return nil, err
	case total == nil:
		return nil, refuse(http.StatusConflict, cmp.Or(failed, "no storage is open"))
	}
	return total, nil
}

// refresh asks the upstream for an image and pulls what is new of it: of the platforms
// that are there, or of all if none is.
func (d *run) refresh(q *query) (any, error) {
	i, err := d.imageOf(q)
	if err != nil {
		return nil, err
	}
	var platforms []image.Platform
	if value, err := d.showImage(q); err == nil {
		for _, part := range value.(*image.Report).Parts {
			if p, err := image.ParsePlatform(part.Platform); err == nil && part.Complete {
				platforms = append(platforms, p)
			}
		}
	}
	request := operate.PreloadRequest{ImageRequest: operate.ImageRequest{Images: []imagelist.Image{i}, Choice: image.Choice{Platforms: platforms}}, Parallel: 1}
	var report *image.Report
	failed := ""
	err = d.gateway.Preload(q.Context(), request, func(line operate.ImageLine) {
		if line.Report != nil {
			report = line.Report
		}
		failed = cmp.Or(failed, line.Error)
	})
	d.images.changed()
	switch {
	case err != nil:
		return nil, err
	case report == nil:
		return nil, errors.New(cmp.Or(failed, "nothing was pulled"))
	case report.Error != "":
		return nil, refuse(http.StatusBadGateway, report.Error)
	}
	return report, nil
}
