// What Node.js loads as tfjs_binding.node: it sets the allocator up for large
// tensors, and loads the real binding (BINDING, an absolute path) without the two lines that TensorFlow's static
// initialisation writes to standard error, which no setting of its own
// silences, and hands over to it. They are kept when loading fails, and when
// TF_CPP_MIN_LOG_LEVEL is 0 or unset.
#include <dlfcn.h>
#include <malloc.h>
#include <node_api.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>

namespace {

void *Load() { return dlopen(BINDING, RTLD_LAZY | RTLD_LOCAL); }

void *LoadQuietly() {
  const int screen = dup(STDERR_FILENO);
  const int kept = memfd_create("headscope", MFD_CLOEXEC);
  if (screen < 0 || kept < 0) return Load();
  dup2(kept, STDERR_FILENO);
  void *binding = Load();
  dup2(screen, STDERR_FILENO);
  if (binding == nullptr) {
    char part[4096];
    lseek(kept, 0, SEEK_SET);
    for (ssize_t n; (n = read(kept, part, sizeof part)) > 0;)
      if (write(STDERR_FILENO, part, n) < 0) break;
  }
  close(screen);
  close(kept);
  return binding;
}

// Activations come and go by the megabyte. By default each is mapped anew and
// faulted in page by page: a tenth of a prefill's time.
void KeepFreedMemory() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 512 << 20);
}

}  // namespace

NAPI_MODULE_INIT() {
  KeepFreedMemory();
  const char *level = std::getenv("TF_CPP_MIN_LOG_LEVEL");
  void *binding = level != nullptr && std::atoi(level) > 0 ? LoadQuietly() : Load();
  void *init = binding ? dlsym(binding, "napi_register_module_v1") : nullptr;
  if (init == nullptr) {
    napi_throw_error(env, nullptr, dlerror());
    return nullptr;
  }
  return reinterpret_cast<napi_addon_register_func>(init)(env, exports);
}
