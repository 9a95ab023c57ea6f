// What PyTorch's autograd asks of a device: whether there is one, which, its stream and its events. Here each answer is "the first",
// nothing is done, and waits for an event are counted. The environment's FAKE_DEVICE says of which kind the one device is.
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/detail/MPSHooksInterface.h>
#include <ATen/detail/XPUHooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <cstdlib>

using namespace c10;

static long long waits = 0;
extern "C" long long event_waits() { return waits; }

static bool is_there(DeviceType kind) { return DeviceTypeName(kind, true) == std::getenv("FAKE_DEVICE"); }

template <DeviceType kind>
struct Guard final : impl::NoOpDeviceGuardImpl<kind> {
  Device first() const noexcept { return Device(kind, 0); }
  Device exchangeDevice(Device) const override { return first(); }
  Device getDevice() const override { return first(); }
  Stream getStream(Device) const noexcept override { return Stream(Stream::DEFAULT, first()); }
  Stream getNewStream(Device, int) const override { return Stream(Stream::DEFAULT, first()); }
  Stream exchangeStream(Stream) const noexcept override { return Stream(Stream::DEFAULT, first()); }
  void record(void**, const Stream&, const DeviceIndex, const EventFlag) const override {}
  void block(void*, const Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void synchronizeEvent(void*) const override { ++waits; }
};

template <class Interface, DeviceType kind>
struct Hooks : Interface {
  void init() const override {}
  bool isBuilt() const override { return is_there(kind); }
  bool isAvailable() const override { return is_there(kind); }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  DeviceIndex deviceCount() const override { return is_there(kind); }
  DeviceIndex getCurrentDevice() const override { return 0; }
};

namespace at {
struct CUDAHooks final : Hooks<CUDAHooksInterface, DeviceType::CUDA> {
  CUDAHooks(CUDAHooksArgs) {}
  bool hasCUDA() const override { return isAvailable(); }
};
struct XPUHooks final : Hooks<XPUHooksInterface, DeviceType::XPU> {
  bool hasXPU() const override { return isAvailable(); }
};
struct MPSHooks final : Hooks<MPSHooksInterface, DeviceType::MPS> {
  bool hasMPS() const override { return isAvailable(); }
};
C10_REGISTER_CLASS(CUDAHooksRegistry, CUDAHooks, CUDAHooks)
C10_REGISTER_CLASS(XPUHooksRegistry, XPUHooks, XPUHooks)
C10_REGISTER_CLASS(MPSHooksRegistry, MPSHooks, MPSHooks)
} // namespace at

static impl::DeviceGuardImplRegistrar cuda(DeviceType::CUDA, new Guard<DeviceType::CUDA>());
static impl::DeviceGuardImplRegistrar xpu(DeviceType::XPU, new Guard<DeviceType::XPU>());
static impl::DeviceGuardImplRegistrar mps(DeviceType::MPS, new Guard<DeviceType::MPS>());
