// Package sandboximage is a containerd plugin that keeps the sandbox (pause) image in containerd's store.
//
// The image is an OCI archive on the verified root. It is imported before containerd's socket answers, so
// that no pod waits for it or asks a registry, and again whenever it is removed or damaged.
package sandboximage

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/containerd/platforms"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
	"github.com/containerd/typeurl/v2"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// kubernetes is the namespace of the CRI plugin (containerd, internal/cri/constants).
	kubernetes = "k8s.io"
	// importLimit and removalLimit bound an import, for which a start of containerd waits, and the removal of a
	// damaged image, which collects garbage in the whole store.
	importLimit  = 30 * time.Second
	removalLimit = 10 * time.Minute
	// retryMinimum and retryMaximum bound the pause before the next try after a failure.
	retryMinimum = time.Second
	retryMaximum = time.Minute
	// blobMaximum bounds the length of a blob that is read to check it, in bytes.
	blobMaximum = 64 << 20
)

// own is the label by which the plugin finds what it imported.
const own = "io.k3s-daas.sandbox-image"

// labels tell the CRI plugin that the image is its own, and the kubelet to keep it when it makes room
// (containerd, internal/cri/labels).
var labels = map[string]string{
	"io.cri-containerd.image":  "managed",
	"io.cri-containerd.pinned": "pinned",
	own:                        "true",
}

// Config is the plugin's section of config.toml.
type Config struct {
	// Path is the OCI archive that holds the image.
	Path string `toml:"path"`
}

func init() {
	registry.Register(&plugin.Registration{
		Type: "io.k3s-daas.v1",
		ID:   "sandbox-image",
		// what WithInMemoryServices takes
		Requires: []plugin.Type{
			plugins.EventPlugin,
			plugins.LeasePlugin,
			plugins.MountManagerPlugin,
			plugins.SandboxStorePlugin,
			plugins.ServicePlugin,
			plugins.TransferPlugin,
		},
		Config: &Config{Path: "/usr/share/k3s-daas/pause.tar"},
		InitFn: start,
	})
}

// start imports the image. A failure is logged and tried again; it never keeps containerd from starting.
func start(ic *plugin.InitContext) (any, error) {
	config, ok := ic.Config.(*Config)
	if !ok {
		return nil, fmt.Errorf("the configuration has the type %T", ic.Config)
	}
	containerd, err := client.New("",
		client.WithDefaultNamespace(kubernetes),
		client.WithDefaultPlatform(platforms.Default()),
		client.WithInMemoryServices(ic),
	)
	if err != nil {
		return nil, fmt.Errorf("create a client: %w", err)
	}
	ctx := namespaces.WithNamespace(ic.Context, kubernetes)
	removals, failures := containerd.Subscribe(ctx, `topic=="/images/delete"`)
	keeper := &keeper{path: config.Path, client: containerd}
	// a start waits for an import, which takes a moment, so that no pod asks a registry for the image; not for the
	// removal of a damaged one
	err = keeper.ensure(ctx)
	if err != nil {
		log.G(ctx).WithError(err).Error("the sandbox image cannot be imported; trying again")
	}
	go keeper.run(ctx, err == nil, removals, failures)
	return keeper, nil
}

// keeper keeps one image in the store.
type keeper struct {
	path   string
	client *client.Client
	// names are those of the archive's images.
	names []string
}

// run imports the image again whenever it is removed, until the context ends.
func (k *keeper) run(ctx context.Context, present bool, removals <-chan *events.Envelope, failures <-chan error) {
	pause := retryMinimum
	var retry <-chan time.Time
	for {
		if !present && retry == nil {
			retry = time.After(pause)
		}
		select {
		case <-ctx.Done():
			return
		case err := <-failures:
			// the event exchange ends with containerd alone
			log.G(ctx).WithError(err).Info("the sandbox image is watched no longer")
			return
		case removal := <-removals:
			if k.concerns(removal) {
				log.G(ctx).Warn("the sandbox image was removed; importing it again")
				present = false
			}
			continue
		case <-retry:
			retry = nil
		}
		if err := k.ensureOrReplace(ctx); err != nil {
			pause = min(2*pause, retryMaximum)
			log.G(ctx).WithError(err).Error("the sandbox image cannot be imported; trying again")
		} else {
			present = true
			pause = retryMinimum
		}
	}
}

// concerns reports whether the event says that the image was removed.
func (k *keeper) concerns(envelope *events.Envelope) bool {
	if envelope == nil || envelope.Namespace != kubernetes {
		return false
	}
	event, err := typeurl.UnmarshalAny(envelope.Event)
	if err != nil {
		return false
	}
	removed, ok := event.(*eventsapi.ImageDelete)
	if !ok {
		return false
	}
	for _, name := range k.names {
		if name == removed.Name {
			return true
		}
	}
	return false
}

// errDamaged says that the store has something else under the image's name or digests.
var errDamaged = errors.New("the sandbox image in the store is damaged")

// ensure imports the image where the store has not the whole of it. An error wraps errDamaged where the import did
// not help: the store takes a blob that it has already for whole.
func (k *keeper) ensure(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, importLimit)
	defer cancel()
	wanted, err := k.wanted()
	if err != nil {
		return err
	}
	// reading is cheap, and an import writes to the disk a dozen times
	before := k.check(ctx, wanted)
	if before == nil {
		return nil
	}
	if err := k.load(ctx); err != nil {
		if errors.Is(before, errDamaged) && ctx.Err() == nil && !errors.Is(err, syscall.ENOSPC) {
			return fmt.Errorf("%w, and cannot be imported: %w", before, err)
		}
		return err
	}
	return k.check(ctx, wanted)
}

// ensureOrReplace removes a damaged image with all its blobs and imports it once more.
func (k *keeper) ensureOrReplace(ctx context.Context) error {
	err := k.ensure(ctx)
	if !errors.Is(err, errDamaged) {
		return err
	}
	log.G(ctx).WithError(err).Warn("removing the sandbox image")
	if err := k.remove(ctx); err != nil {
		return err
	}
	return k.ensure(ctx)
}

// wanted reads the names and digests of the archive's images out of its index.
func (k *keeper) wanted() ([]images.Image, error) {
	archive, err := os.Open(k.path)
	if err != nil {
		return nil, fmt.Errorf("open the archive: %w", err)
	}
	defer archive.Close()
	for entries := tar.NewReader(archive); ; {
		entry, err := entries.Next()
		if err != nil {
			return nil, fmt.Errorf("find the index in %s: %w", k.path, err)
		}
		if entry.Name != ocispec.ImageIndexFile {
			continue
		}
		var index ocispec.Index
		if err := json.NewDecoder(io.LimitReader(entries, blobMaximum)).Decode(&index); err != nil {
			return nil, fmt.Errorf("read the index in %s: %w", k.path, err)
		}
		var wanted []images.Image
		k.names = nil
		for _, manifest := range index.Manifests {
			if name := manifest.Annotations[images.AnnotationImageName]; name != "" {
				k.names = append(k.names, name)
				wanted = append(wanted, images.Image{Name: name, Target: manifest})
			}
		}
		if len(wanted) == 0 {
			return nil, fmt.Errorf("%s names no image", k.path)
		}
		return wanted, nil
	}
}

// remove takes the image out of the store, and waits until the blobs that it alone referred to are gone.
func (k *keeper) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, removalLimit)
	defer cancel()
	service := k.client.ImageService()
	present, err := service.List(ctx, fmt.Sprintf("labels.%q==true", own))
	if err != nil {
		return fmt.Errorf("list the images: %w", err)
	}
	for _, image := range present {
		if err := service.Delete(ctx, image.Name); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("remove %s: %w", image.Name, err)
		}
	}
	// the garbage collection that a lease's synchronous end waits for collects all that nothing refers to
	manager := k.client.LeasesService()
	lease, err := manager.Create(ctx, leases.WithRandomID())
	if err != nil {
		return fmt.Errorf("create a lease: %w", err)
	}
	if err := manager.Delete(ctx, lease, leases.SynchronousDelete); err != nil {
		return fmt.Errorf("collect the image's blobs: %w", err)
	}
	return nil
}

// load imports the archive.
func (k *keeper) load(ctx context.Context) error {
	archive, err := os.Open(k.path)
	if err != nil {
		return fmt.Errorf("open the archive: %w", err)
	}
	defer archive.Close()
	if _, err := k.client.Import(ctx, archive, client.WithImageLabels(labels)); err != nil {
		return fmt.Errorf("import %s: %w", k.path, err)
	}
	return nil
}

// check compares the images in the store with those that are wanted, and reads each of their blobs.
func (k *keeper) check(ctx context.Context, wanted []images.Image) error {
	for _, image := range wanted {
		present, err := k.client.ImageService().Get(ctx, image.Name)
		if err != nil {
			return fmt.Errorf("find %s: %w", image.Name, err)
		}
		if present.Target.Digest != image.Target.Digest {
			return fmt.Errorf("%w: %s is %s instead of %s", errDamaged, image.Name, present.Target.Digest, image.Target.Digest)
		}
		for label, value := range labels {
			if present.Labels[label] != value {
				return fmt.Errorf("%s lacks the label %s", image.Name, label)
			}
		}
		if err := images.Walk(ctx, images.HandlerFunc(k.checkBlob), present.Target); err != nil {
			return fmt.Errorf("check %s: %w", image.Name, err)
		}
	}
	return nil
}

// checkBlob reads one blob, compares its digest, and returns the blobs that it refers to.
func (k *keeper) checkBlob(ctx context.Context, blob ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	if blob.Size > blobMaximum {
		return nil, fmt.Errorf("the blob %s has %d bytes, more than %d", blob.Digest, blob.Size, blobMaximum)
	}
	store := k.client.ContentStore()
	bytes, err := content.ReadBlob(ctx, store, blob)
	if errdefs.IsNotFound(err) || errors.Is(err, os.ErrNotExist) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: the blob %s is cut or missing: %w", errDamaged, blob.Digest, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read the blob %s: %w", blob.Digest, err)
	}
	if actual := blob.Digest.Algorithm().FromBytes(bytes); actual != blob.Digest {
		return nil, fmt.Errorf("%w: the blob %s has the digest %s", errDamaged, blob.Digest, actual)
	}
	return images.Children(ctx, store, blob)
}
