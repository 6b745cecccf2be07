//! Encodings of vector instructions.
//!
//! Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2.

use iced_x86::Code;

/// An instruction in the forms that are used: VEX of 128 and 256 bits, EVEX of 128 and 512 bits.
/// `INVALID` where there is none.
#[derive(Clone, Copy)]
pub(super) struct Row(pub [Code; 4]);

macro_rules! rows {
    ($($name:ident: $x:ident $y:ident $ex:ident $z:ident;)*) => {
        $(pub(super) const $name: Row = Row([Code::$x, Code::$y, Code::$ex, Code::$z]);)*
    };
}

rows! {
    ADDPS: VEX_Vaddps_xmm_xmm_xmmm128 VEX_Vaddps_ymm_ymm_ymmm256 EVEX_Vaddps_xmm_k1z_xmm_xmmm128b32 EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er;
    ADDPD: VEX_Vaddpd_xmm_xmm_xmmm128 VEX_Vaddpd_ymm_ymm_ymmm256 EVEX_Vaddpd_xmm_k1z_xmm_xmmm128b64 EVEX_Vaddpd_zmm_k1z_zmm_zmmm512b64_er;
    SUBPS: VEX_Vsubps_xmm_xmm_xmmm128 VEX_Vsubps_ymm_ymm_ymmm256 EVEX_Vsubps_xmm_k1z_xmm_xmmm128b32 EVEX_Vsubps_zmm_k1z_zmm_zmmm512b32_er;
    SUBPD: VEX_Vsubpd_xmm_xmm_xmmm128 VEX_Vsubpd_ymm_ymm_ymmm256 EVEX_Vsubpd_xmm_k1z_xmm_xmmm128b64 EVEX_Vsubpd_zmm_k1z_zmm_zmmm512b64_er;
    MULPS: VEX_Vmulps_xmm_xmm_xmmm128 VEX_Vmulps_ymm_ymm_ymmm256 EVEX_Vmulps_xmm_k1z_xmm_xmmm128b32 EVEX_Vmulps_zmm_k1z_zmm_zmmm512b32_er;
    MULPD: VEX_Vmulpd_xmm_xmm_xmmm128 VEX_Vmulpd_ymm_ymm_ymmm256 EVEX_Vmulpd_xmm_k1z_xmm_xmmm128b64 EVEX_Vmulpd_zmm_k1z_zmm_zmmm512b64_er;
    DIVPS: VEX_Vdivps_xmm_xmm_xmmm128 VEX_Vdivps_ymm_ymm_ymmm256 EVEX_Vdivps_xmm_k1z_xmm_xmmm128b32 EVEX_Vdivps_zmm_k1z_zmm_zmmm512b32_er;
    DIVPD: VEX_Vdivpd_xmm_xmm_xmmm128 VEX_Vdivpd_ymm_ymm_ymmm256 EVEX_Vdivpd_xmm_k1z_xmm_xmmm128b64 EVEX_Vdivpd_zmm_k1z_zmm_zmmm512b64_er;
    MAXPS: VEX_Vmaxps_xmm_xmm_xmmm128 VEX_Vmaxps_ymm_ymm_ymmm256 EVEX_Vmaxps_xmm_k1z_xmm_xmmm128b32 EVEX_Vmaxps_zmm_k1z_zmm_zmmm512b32_sae;
    MAXPD: VEX_Vmaxpd_xmm_xmm_xmmm128 VEX_Vmaxpd_ymm_ymm_ymmm256 EVEX_Vmaxpd_xmm_k1z_xmm_xmmm128b64 EVEX_Vmaxpd_zmm_k1z_zmm_zmmm512b64_sae;
    MINPS: VEX_Vminps_xmm_xmm_xmmm128 VEX_Vminps_ymm_ymm_ymmm256 EVEX_Vminps_xmm_k1z_xmm_xmmm128b32 EVEX_Vminps_zmm_k1z_zmm_zmmm512b32_sae;
    MINPD: VEX_Vminpd_xmm_xmm_xmmm128 VEX_Vminpd_ymm_ymm_ymmm256 EVEX_Vminpd_xmm_k1z_xmm_xmmm128b64 EVEX_Vminpd_zmm_k1z_zmm_zmmm512b64_sae;
    PADDD: VEX_Vpaddd_xmm_xmm_xmmm128 VEX_Vpaddd_ymm_ymm_ymmm256 EVEX_Vpaddd_xmm_k1z_xmm_xmmm128b32 EVEX_Vpaddd_zmm_k1z_zmm_zmmm512b32;
    PADDQ: VEX_Vpaddq_xmm_xmm_xmmm128 VEX_Vpaddq_ymm_ymm_ymmm256 EVEX_Vpaddq_xmm_k1z_xmm_xmmm128b64 EVEX_Vpaddq_zmm_k1z_zmm_zmmm512b64;
    PSUBD: VEX_Vpsubd_xmm_xmm_xmmm128 VEX_Vpsubd_ymm_ymm_ymmm256 EVEX_Vpsubd_xmm_k1z_xmm_xmmm128b32 EVEX_Vpsubd_zmm_k1z_zmm_zmmm512b32;
    PSUBQ: VEX_Vpsubq_xmm_xmm_xmmm128 VEX_Vpsubq_ymm_ymm_ymmm256 EVEX_Vpsubq_xmm_k1z_xmm_xmmm128b64 EVEX_Vpsubq_zmm_k1z_zmm_zmmm512b64;
    PMULLD: VEX_Vpmulld_xmm_xmm_xmmm128 VEX_Vpmulld_ymm_ymm_ymmm256 EVEX_Vpmulld_xmm_k1z_xmm_xmmm128b32 EVEX_Vpmulld_zmm_k1z_zmm_zmmm512b32;
    PMULLQ: INVALID INVALID EVEX_Vpmullq_xmm_k1z_xmm_xmmm128b64 EVEX_Vpmullq_zmm_k1z_zmm_zmmm512b64;
    PMINSD: VEX_Vpminsd_xmm_xmm_xmmm128 VEX_Vpminsd_ymm_ymm_ymmm256 EVEX_Vpminsd_xmm_k1z_xmm_xmmm128b32 EVEX_Vpminsd_zmm_k1z_zmm_zmmm512b32;
    PMINUD: VEX_Vpminud_xmm_xmm_xmmm128 VEX_Vpminud_ymm_ymm_ymmm256 EVEX_Vpminud_xmm_k1z_xmm_xmmm128b32 EVEX_Vpminud_zmm_k1z_zmm_zmmm512b32;
    PMAXSD: VEX_Vpmaxsd_xmm_xmm_xmmm128 VEX_Vpmaxsd_ymm_ymm_ymmm256 EVEX_Vpmaxsd_xmm_k1z_xmm_xmmm128b32 EVEX_Vpmaxsd_zmm_k1z_zmm_zmmm512b32;
    PMAXUD: VEX_Vpmaxud_xmm_xmm_xmmm128 VEX_Vpmaxud_ymm_ymm_ymmm256 EVEX_Vpmaxud_xmm_k1z_xmm_xmmm128b32 EVEX_Vpmaxud_zmm_k1z_zmm_zmmm512b32;
    PMINSQ: INVALID INVALID EVEX_Vpminsq_xmm_k1z_xmm_xmmm128b64 EVEX_Vpminsq_zmm_k1z_zmm_zmmm512b64;
    PMINUQ: INVALID INVALID EVEX_Vpminuq_xmm_k1z_xmm_xmmm128b64 EVEX_Vpminuq_zmm_k1z_zmm_zmmm512b64;
    PMAXSQ: INVALID INVALID EVEX_Vpmaxsq_xmm_k1z_xmm_xmmm128b64 EVEX_Vpmaxsq_zmm_k1z_zmm_zmmm512b64;
    PMAXUQ: INVALID INVALID EVEX_Vpmaxuq_xmm_k1z_xmm_xmmm128b64 EVEX_Vpmaxuq_zmm_k1z_zmm_zmmm512b64;
    PSLLVD: VEX_Vpsllvd_xmm_xmm_xmmm128 VEX_Vpsllvd_ymm_ymm_ymmm256 EVEX_Vpsllvd_xmm_k1z_xmm_xmmm128b32 EVEX_Vpsllvd_zmm_k1z_zmm_zmmm512b32;
    PSLLVQ: VEX_Vpsllvq_xmm_xmm_xmmm128 VEX_Vpsllvq_ymm_ymm_ymmm256 EVEX_Vpsllvq_xmm_k1z_xmm_xmmm128b64 EVEX_Vpsllvq_zmm_k1z_zmm_zmmm512b64;
    PSRLVD: VEX_Vpsrlvd_xmm_xmm_xmmm128 VEX_Vpsrlvd_ymm_ymm_ymmm256 EVEX_Vpsrlvd_xmm_k1z_xmm_xmmm128b32 EVEX_Vpsrlvd_zmm_k1z_zmm_zmmm512b32;
    PSRLVQ: VEX_Vpsrlvq_xmm_xmm_xmmm128 VEX_Vpsrlvq_ymm_ymm_ymmm256 EVEX_Vpsrlvq_xmm_k1z_xmm_xmmm128b64 EVEX_Vpsrlvq_zmm_k1z_zmm_zmmm512b64;
    PSRAVD: VEX_Vpsravd_xmm_xmm_xmmm128 VEX_Vpsravd_ymm_ymm_ymmm256 EVEX_Vpsravd_xmm_k1z_xmm_xmmm128b32 EVEX_Vpsravd_zmm_k1z_zmm_zmmm512b32;
    PSRAVQ: INVALID INVALID EVEX_Vpsravq_xmm_k1z_xmm_xmmm128b64 EVEX_Vpsravq_zmm_k1z_zmm_zmmm512b64;
    FMADD231PS: VEX_Vfmadd231ps_xmm_xmm_xmmm128 VEX_Vfmadd231ps_ymm_ymm_ymmm256 EVEX_Vfmadd231ps_xmm_k1z_xmm_xmmm128b32 EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er;
    FMADD231PD: VEX_Vfmadd231pd_xmm_xmm_xmmm128 VEX_Vfmadd231pd_ymm_ymm_ymmm256 EVEX_Vfmadd231pd_xmm_k1z_xmm_xmmm128b64 EVEX_Vfmadd231pd_zmm_k1z_zmm_zmmm512b64_er;
    FMADD213PS: VEX_Vfmadd213ps_xmm_xmm_xmmm128 VEX_Vfmadd213ps_ymm_ymm_ymmm256 EVEX_Vfmadd213ps_xmm_k1z_xmm_xmmm128b32 EVEX_Vfmadd213ps_zmm_k1z_zmm_zmmm512b32_er;
    FMADD213PD: VEX_Vfmadd213pd_xmm_xmm_xmmm128 VEX_Vfmadd213pd_ymm_ymm_ymmm256 EVEX_Vfmadd213pd_xmm_k1z_xmm_xmmm128b64 EVEX_Vfmadd213pd_zmm_k1z_zmm_zmmm512b64_er;
    PAND: VEX_Vpand_xmm_xmm_xmmm128 VEX_Vpand_ymm_ymm_ymmm256 EVEX_Vpandd_xmm_k1z_xmm_xmmm128b32 EVEX_Vpandd_zmm_k1z_zmm_zmmm512b32;
    POR: VEX_Vpor_xmm_xmm_xmmm128 VEX_Vpor_ymm_ymm_ymmm256 EVEX_Vpord_xmm_k1z_xmm_xmmm128b32 EVEX_Vpord_zmm_k1z_zmm_zmmm512b32;
    PXOR: VEX_Vpxor_xmm_xmm_xmmm128 VEX_Vpxor_ymm_ymm_ymmm256 EVEX_Vpxord_xmm_k1z_xmm_xmmm128b32 EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32;
    PANDN: VEX_Vpandn_xmm_xmm_xmmm128 VEX_Vpandn_ymm_ymm_ymmm256 EVEX_Vpandnd_xmm_k1z_xmm_xmmm128b32 EVEX_Vpandnd_zmm_k1z_zmm_zmmm512b32;
    SQRTPS: VEX_Vsqrtps_xmm_xmmm128 VEX_Vsqrtps_ymm_ymmm256 EVEX_Vsqrtps_xmm_k1z_xmmm128b32 EVEX_Vsqrtps_zmm_k1z_zmmm512b32_er;
    SQRTPD: VEX_Vsqrtpd_xmm_xmmm128 VEX_Vsqrtpd_ymm_ymmm256 EVEX_Vsqrtpd_xmm_k1z_xmmm128b64 EVEX_Vsqrtpd_zmm_k1z_zmmm512b64_er;
    PABSD: VEX_Vpabsd_xmm_xmmm128 VEX_Vpabsd_ymm_ymmm256 EVEX_Vpabsd_xmm_k1z_xmmm128b32 EVEX_Vpabsd_zmm_k1z_zmmm512b32;
    PABSQ: INVALID INVALID EVEX_Vpabsq_xmm_k1z_xmmm128b64 EVEX_Vpabsq_zmm_k1z_zmmm512b64;
    CVTDQ2PS: VEX_Vcvtdq2ps_xmm_xmmm128 VEX_Vcvtdq2ps_ymm_ymmm256 EVEX_Vcvtdq2ps_xmm_k1z_xmmm128b32 EVEX_Vcvtdq2ps_zmm_k1z_zmmm512b32_er;
    CVTUDQ2PS: INVALID INVALID EVEX_Vcvtudq2ps_xmm_k1z_xmmm128b32 EVEX_Vcvtudq2ps_zmm_k1z_zmmm512b32_er;
    CVTTPS2DQ: VEX_Vcvttps2dq_xmm_xmmm128 VEX_Vcvttps2dq_ymm_ymmm256 EVEX_Vcvttps2dq_xmm_k1z_xmmm128b32 EVEX_Vcvttps2dq_zmm_k1z_zmmm512b32_sae;
    CVTTPS2UDQ: INVALID INVALID EVEX_Vcvttps2udq_xmm_k1z_xmmm128b32 EVEX_Vcvttps2udq_zmm_k1z_zmmm512b32_sae;
    CVTQQ2PD: INVALID INVALID EVEX_Vcvtqq2pd_xmm_k1z_xmmm128b64 EVEX_Vcvtqq2pd_zmm_k1z_zmmm512b64_er;
    CVTUQQ2PD: INVALID INVALID EVEX_Vcvtuqq2pd_xmm_k1z_xmmm128b64 EVEX_Vcvtuqq2pd_zmm_k1z_zmmm512b64_er;
    CVTTPD2QQ: INVALID INVALID EVEX_Vcvttpd2qq_xmm_k1z_xmmm128b64 EVEX_Vcvttpd2qq_zmm_k1z_zmmm512b64_sae;
    CVTTPD2UQQ: INVALID INVALID EVEX_Vcvttpd2uqq_xmm_k1z_xmmm128b64 EVEX_Vcvttpd2uqq_zmm_k1z_zmmm512b64_sae;
    SCALEFPS: INVALID INVALID EVEX_Vscalefps_xmm_k1z_xmm_xmmm128b32 EVEX_Vscalefps_zmm_k1z_zmm_zmmm512b32_er;
    SCALEFPD: INVALID INVALID EVEX_Vscalefpd_xmm_k1z_xmm_xmmm128b64 EVEX_Vscalefpd_zmm_k1z_zmm_zmmm512b64_er;
    RANGEPS: INVALID INVALID EVEX_Vrangeps_xmm_k1z_xmm_xmmm128b32_imm8 EVEX_Vrangeps_zmm_k1z_zmm_zmmm512b32_imm8_sae;
    RANGEPD: INVALID INVALID EVEX_Vrangepd_xmm_k1z_xmm_xmmm128b64_imm8 EVEX_Vrangepd_zmm_k1z_zmm_zmmm512b64_imm8_sae;
    CMPPS: VEX_Vcmpps_xmm_xmm_xmmm128_imm8 VEX_Vcmpps_ymm_ymm_ymmm256_imm8 EVEX_Vcmpps_kr_k1_xmm_xmmm128b32_imm8 EVEX_Vcmpps_kr_k1_zmm_zmmm512b32_imm8_sae;
    CMPPD: VEX_Vcmppd_xmm_xmm_xmmm128_imm8 VEX_Vcmppd_ymm_ymm_ymmm256_imm8 EVEX_Vcmppd_kr_k1_xmm_xmmm128b64_imm8 EVEX_Vcmppd_kr_k1_zmm_zmmm512b64_imm8_sae;
    PCMPD: INVALID INVALID EVEX_Vpcmpd_kr_k1_xmm_xmmm128b32_imm8 EVEX_Vpcmpd_kr_k1_zmm_zmmm512b32_imm8;
    PCMPUD: INVALID INVALID EVEX_Vpcmpud_kr_k1_xmm_xmmm128b32_imm8 EVEX_Vpcmpud_kr_k1_zmm_zmmm512b32_imm8;
    PCMPQ: INVALID INVALID EVEX_Vpcmpq_kr_k1_xmm_xmmm128b64_imm8 EVEX_Vpcmpq_kr_k1_zmm_zmmm512b64_imm8;
    PCMPUQ: INVALID INVALID EVEX_Vpcmpuq_kr_k1_xmm_xmmm128b64_imm8 EVEX_Vpcmpuq_kr_k1_zmm_zmmm512b64_imm8;
    PCMPEQD: VEX_Vpcmpeqd_xmm_xmm_xmmm128 VEX_Vpcmpeqd_ymm_ymm_ymmm256 INVALID INVALID;
    PCMPEQQ: VEX_Vpcmpeqq_xmm_xmm_xmmm128 VEX_Vpcmpeqq_ymm_ymm_ymmm256 INVALID INVALID;
    PCMPGTD: VEX_Vpcmpgtd_xmm_xmm_xmmm128 VEX_Vpcmpgtd_ymm_ymm_ymmm256 INVALID INVALID;
    PCMPGTQ: VEX_Vpcmpgtq_xmm_xmm_xmmm128 VEX_Vpcmpgtq_ymm_ymm_ymmm256 INVALID INVALID;
    BLENDVPS: VEX_Vblendvps_xmm_xmm_xmmm128_xmm VEX_Vblendvps_ymm_ymm_ymmm256_ymm INVALID INVALID;
    BLENDVPD: VEX_Vblendvpd_xmm_xmm_xmmm128_xmm VEX_Vblendvpd_ymm_ymm_ymmm256_ymm INVALID INVALID;
    PBLENDMD: INVALID INVALID EVEX_Vpblendmd_xmm_k1z_xmm_xmmm128b32 EVEX_Vpblendmd_zmm_k1z_zmm_zmmm512b32;
    PBLENDMQ: INVALID INVALID EVEX_Vpblendmq_xmm_k1z_xmm_xmmm128b64 EVEX_Vpblendmq_zmm_k1z_zmm_zmmm512b64;
    LOAD: VEX_Vmovups_xmm_xmmm128 VEX_Vmovups_ymm_ymmm256 EVEX_Vmovups_xmm_k1z_xmmm128 EVEX_Vmovups_zmm_k1z_zmmm512;
    STORE: VEX_Vmovups_xmmm128_xmm VEX_Vmovups_ymmm256_ymm EVEX_Vmovups_xmmm128_k1z_xmm EVEX_Vmovups_zmmm512_k1z_zmm;
    LOADPD: VEX_Vmovupd_xmm_xmmm128 VEX_Vmovupd_ymm_ymmm256 EVEX_Vmovupd_xmm_k1z_xmmm128 EVEX_Vmovupd_zmm_k1z_zmmm512;
    STOREPD: VEX_Vmovupd_xmmm128_xmm VEX_Vmovupd_ymmm256_ymm EVEX_Vmovupd_xmmm128_k1z_xmm EVEX_Vmovupd_zmmm512_k1z_zmm;
    MOVE: VEX_Vmovaps_xmm_xmmm128 VEX_Vmovaps_ymm_ymmm256 EVEX_Vmovaps_xmm_k1z_xmmm128 EVEX_Vmovaps_zmm_k1z_zmmm512;
    SPLAT4: VEX_Vbroadcastss_xmm_m32 VEX_Vbroadcastss_ymm_m32 EVEX_Vbroadcastss_xmm_k1z_xmmm32 EVEX_Vbroadcastss_zmm_k1z_xmmm32;
    SPLAT8: VEX_Vmovddup_xmm_xmmm64 VEX_Vbroadcastsd_ymm_m64 EVEX_Vmovddup_xmm_k1z_xmmm64 EVEX_Vbroadcastsd_zmm_k1z_xmmm64;
    SPLAT4_REG: VEX_Vbroadcastss_xmm_xmm VEX_Vbroadcastss_ymm_xmm EVEX_Vbroadcastss_xmm_k1z_xmmm32 EVEX_Vbroadcastss_zmm_k1z_xmmm32;
    SPLAT8_REG: VEX_Vmovddup_xmm_xmmm64 VEX_Vbroadcastsd_ymm_xmm EVEX_Vmovddup_xmm_k1z_xmmm64 EVEX_Vbroadcastsd_zmm_k1z_xmmm64;
    MASK_LOAD4: INVALID VEX_Vmaskmovps_ymm_ymm_m256 INVALID INVALID;
    MASK_LOAD8: INVALID VEX_Vmaskmovpd_ymm_ymm_m256 INVALID INVALID;
    MASK_STORE4: INVALID VEX_Vmaskmovps_m256_ymm_ymm INVALID INVALID;
    MASK_STORE8: INVALID VEX_Vmaskmovpd_m256_ymm_ymm INVALID INVALID;
    GATHER4: INVALID VEX_Vgatherdps_ymm_vm32y_ymm INVALID EVEX_Vgatherdps_zmm_k1_vm32z;
    PERMI2PS: INVALID INVALID EVEX_Vpermi2ps_xmm_k1z_xmm_xmmm128b32 EVEX_Vpermi2ps_zmm_k1z_zmm_zmmm512b32;
    UNPCKLPS: VEX_Vunpcklps_xmm_xmm_xmmm128 VEX_Vunpcklps_ymm_ymm_ymmm256 EVEX_Vunpcklps_xmm_k1z_xmm_xmmm128b32 EVEX_Vunpcklps_zmm_k1z_zmm_zmmm512b32;
    UNPCKHPS: VEX_Vunpckhps_xmm_xmm_xmmm128 VEX_Vunpckhps_ymm_ymm_ymmm256 EVEX_Vunpckhps_xmm_k1z_xmm_xmmm128b32 EVEX_Vunpckhps_zmm_k1z_zmm_zmmm512b32;
    PERMT2PS: INVALID INVALID EVEX_Vpermt2ps_xmm_k1z_xmm_xmmm128b32 EVEX_Vpermt2ps_zmm_k1z_zmm_zmmm512b32;
    PSHUFD: VEX_Vpshufd_xmm_xmmm128_imm8 VEX_Vpshufd_ymm_ymmm256_imm8 EVEX_Vpshufd_xmm_k1z_xmmm128b32_imm8 EVEX_Vpshufd_zmm_k1z_zmmm512b32_imm8;
    HALVES: INVALID VEX_Vperm2f128_ymm_ymm_ymmm256_imm8 INVALID EVEX_Vshuff64x2_zmm_k1z_zmm_zmmm512b64_imm8;
    WIDEN_I8: VEX_Vpmovsxbd_xmm_xmmm32 VEX_Vpmovsxbd_ymm_xmmm64 EVEX_Vpmovsxbd_xmm_k1z_xmmm32 EVEX_Vpmovsxbd_zmm_k1z_xmmm128;
    WIDEN_U8: VEX_Vpmovzxbd_xmm_xmmm32 VEX_Vpmovzxbd_ymm_xmmm64 EVEX_Vpmovzxbd_xmm_k1z_xmmm32 EVEX_Vpmovzxbd_zmm_k1z_xmmm128;
    WIDEN_I16: VEX_Vpmovsxwd_xmm_xmmm64 VEX_Vpmovsxwd_ymm_xmmm128 EVEX_Vpmovsxwd_xmm_k1z_xmmm64 EVEX_Vpmovsxwd_zmm_k1z_ymmm256;
    WIDEN_U16: VEX_Vpmovzxwd_xmm_xmmm64 VEX_Vpmovzxwd_ymm_xmmm128 EVEX_Vpmovzxwd_xmm_k1z_xmmm64 EVEX_Vpmovzxwd_zmm_k1z_ymmm256;
    LOAD_F32: VEX_Vmovss_xmm_m32 INVALID EVEX_Vmovss_xmm_k1z_m32 INVALID;
    LOAD_F64: VEX_Vmovsd_xmm_m64 INVALID EVEX_Vmovsd_xmm_k1z_m64 INVALID;
    STORE_F32: VEX_Vmovss_m32_xmm INVALID EVEX_Vmovss_m32_k1_xmm INVALID;
    STORE_F64: VEX_Vmovsd_m64_xmm INVALID EVEX_Vmovsd_m64_k1_xmm INVALID;
    F32_TO_F64: VEX_Vcvtps2pd_xmm_xmmm64 INVALID EVEX_Vcvtps2pd_xmm_k1z_xmmm64b32 INVALID;
    F64_TO_F32: VEX_Vcvtpd2ps_xmm_xmmm128 INVALID EVEX_Vcvtpd2ps_xmm_k1z_xmmm128b64 INVALID;
    I64_TO_F32: VEX_Vcvtsi2ss_xmm_xmm_rm64 INVALID EVEX_Vcvtsi2ss_xmm_xmm_rm64_er INVALID;
    I64_TO_F64: VEX_Vcvtsi2sd_xmm_xmm_rm64 INVALID EVEX_Vcvtsi2sd_xmm_xmm_rm64_er INVALID;
    TO_GPR: VEX_Vmovq_rm64_xmm INVALID EVEX_Vmovq_rm64_xmm INVALID;
}
