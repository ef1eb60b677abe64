import { brief, HeadscopeError } from "../../common/errors.ts";
import type { CacheKind, WeightType } from "../../common/words.ts";

/** Memory behind a device's own, to which keys, values and weights go that do not fit. */
export interface SlowMemory {
  readonly name: string;
  /** Bytes a second, one way. */
  readonly bandwidth: number;
}

/** Speeds that a prediction is made of; of the table's devices those of a data sheet, which no program exceeds. */
export interface Rates {
  /** Bytes of weights a second that a token's products read. */
  readonly weights: number;
  /** Bytes of keys and values a second that a token's attention reads. */
  readonly keys: number;
  /** FLOP/s of a prompt's products with weights. */
  readonly products: number;
  /** FLOP/s of a prompt's attention. */
  readonly attention: number;
  /** Parameters a second that are made wide for a prompt; infinite where products take them as they are held. */
  readonly widening: number;
  /** Seconds that a layer takes for a token beside what it reads, and a token beside its layers. */
  readonly layer: number;
  readonly token: number;
}

/** A device that a model can run on. */
export interface Device {
  /** Lower case with hyphens; what a user types. */
  readonly name: string;
  readonly title: string;
  /** Bytes for weights, keys and values. */
  readonly memory: number;
  readonly rates: Rates;
  readonly slow: SlowMemory;
  /** Forms that it is used with where nobody says otherwise. */
  readonly weights: WeightType;
  readonly cache: CacheKind;
  /** Origin of the figures. */
  readonly source: string;
}

/** Numbers of a data sheet. */
interface DataSheet extends Pick<Device, "name" | "title" | "slow" | "source"> {
  /** Gigabytes (10⁹ bytes). */
  readonly memory: number;
  /** Gigabytes a second of the device's memory. */
  readonly bandwidth: number;
  /** 10¹² dense FLOP/s of 16-bit products that are added up in float32. */
  readonly teraflops: number;
}

const GIGA = 1e9;
const PCIE = (generation: number, gigabytes: number): SlowMemory => ({
  name: `the host's memory, PCIe ${generation}.0 x16`,
  bandwidth: gigabytes * GIGA,
});

/** The devices of the table: one row each, with the document that its figures stand in. */
const SHEETS: readonly DataSheet[] = [
  // NVIDIA A100 80GB data sheet (2021), SXM: 80 GB HBM2e, 2,039 GB/s, BF16 312 TFLOPS dense, PCIe 4.0 64 GB/s both ways together.
  { name: "a100", title: "NVIDIA A100 80 GB (SXM)", memory: 80, bandwidth: 2039, teraflops: 312, slow: PCIE(4, 32), source: "NVIDIA A100 data sheet" },
  // NVIDIA H100 data sheet, SXM: 80 GB HBM3, 3.35 TB/s, BF16 1,979 TFLOPS with sparsity, half of it dense, PCIe 5.0 128 GB/s together.
  { name: "h100", title: "NVIDIA H100 80 GB (SXM)", memory: 80, bandwidth: 3350, teraflops: 989.5, slow: PCIE(5, 64), source: "NVIDIA H100 data sheet" },
  // NVIDIA H200 data sheet, SXM: 141 GB HBM3e, 4.8 TB/s, BF16 as the H100, PCIe 5.0.
  { name: "h200", title: "NVIDIA H200 141 GB (SXM)", memory: 141, bandwidth: 4800, teraflops: 989.5, slow: PCIE(5, 64), source: "NVIDIA H200 data sheet" },
  // NVIDIA Ada GPU architecture paper, table of the RTX 4090: 24 GB GDDR6X, 1,008 GB/s, FP16 with FP32 sums 165.2 TFLOPS dense, PCIe 4.0.
  { name: "rtx-4090", title: "NVIDIA GeForce RTX 4090 24 GB", memory: 24, bandwidth: 1008, teraflops: 165.2, slow: PCIE(4, 32), source: "NVIDIA Ada GPU Architecture" },
  // Apple's technical specifications of the MacBook Pro with M2 Max (2023): 400 GB/s, 38-core GPU, up to 96 GB, here 64 GB; 13.6
  // TFLOPS in float32 by Apple's press release, the same in half precision. Disk: 'LLM in a flash', section 2.1: over 6 GB/s (M1 Max).
  { name: "m2-max", title: "Apple M2 Max laptop 64 GB", memory: 64, bandwidth: 400, teraflops: 13.6, slow: { name: "its flash memory", bandwidth: 6 * GIGA }, source: "Apple's technical specifications; LLM in a flash (Alizadeh et al. 2023)" },
  // Raspberry Pi 5 product brief: 8 GB LPDDR4X-4267 on 32 bits (17.1 GB/s), four Cortex-A76 at 2.4 GHz: two vectors of 8 half-precision
  // multiply-adds a cycle, 307 GFLOP/s; PCIe 2.0 x1 0.5 GB/s.
  { name: "raspberry-pi-5", title: "Raspberry Pi 5 8 GB", memory: 8, bandwidth: 17.1, teraflops: 0.307, slow: { name: "an SSD, PCIe 2.0 x1", bandwidth: 0.5 * GIGA }, source: "Raspberry Pi 5 product brief; Arm Cortex-A76 Software Optimization Guide" },
]; // biome-ignore format: a table

/** Name by which this machine is asked for: its rates are measured. */
export const HERE = "here";

/** Every device of the table; the machine at hand is none of them. */
export const DEVICES: readonly Device[] = SHEETS.map(({ memory, bandwidth, teraflops, ...named }) => ({
  ...named,
  memory: memory * GIGA,
  rates: {
    weights: bandwidth * GIGA,
    keys: bandwidth * GIGA,
    products: teraflops * 1e12,
    attention: teraflops * 1e12,
    widening: Number.POSITIVE_INFINITY,
    layer: 0,
    token: 0,
  },
  weights: "bf16",
  cache: "f16",
}));

/** A device of the table; undefined for the machine at hand. @throws HeadscopeError `usage` with all names */
export function deviceOf(name: string): Device | undefined {
  const device = DEVICES.find((each) => each.name === name);
  if (device !== undefined || name === HERE) return device;
  throw new HeadscopeError("usage", `unknown device "${brief(name)}"`, {
    remedy: `devices are ${[HERE, ...DEVICES.map((each) => each.name)].join(", ")}`,
    field: "devices",
    subject: name,
  });
}
