"""Qwen2.5-Omni's thinker for training on a CPU: batched, with transformers' parameter names.

The towers take whole batches (transformers' take one picture or chunk of sound at a time), which
is most of the speed. `state_dict()` is what an export wants.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VOCABULARY, HIDDEN, FFN, LAYERS, HEADS, KV_HEADS, HEAD = 704, 192, 512, 4, 6, 2, 32
VISION, VISION_FFN, VISION_LAYERS, VISION_HEADS = 128, 320, 3, 4
SOUND, SOUND_FFN, SOUND_LAYERS, SOUND_HEADS, CHUNK = 128, 384, 2, 4, 200
MROPE = (2, 2, 12)
# Qwen's 10,000 leaves the width axis frequencies at which neighbouring columns look the same.
THETA = 200.0
Rotation = tuple[Tensor, Tensor]


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Rotary embedding; x is (..., heads, tokens, head size)."""
    cos, sin = rotation
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin


def heads(x: Tensor, count: int) -> Tensor:
    """(B, T, count * size) to (B, count, T, size)."""
    return x.unflatten(-1, (count, -1)).transpose(1, 2)


class Gated(nn.Module):
    """SwiGLU."""

    def __init__(self, width: int, inner: int, bias: bool) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, inner, bias=bias)
        self.up_proj = nn.Linear(width, inner, bias=bias)
        self.down_proj = nn.Linear(inner, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) to the same."""
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class VisionAttention(nn.Module):
    """Full attention inside one temporal patch."""

    def __init__(self) -> None:
        super().__init__()
        self.q = nn.Linear(VISION, VISION)
        self.k = nn.Linear(VISION, VISION)
        self.v = nn.Linear(VISION, VISION)
        self.proj = nn.Linear(VISION, VISION)

    def forward(self, x: Tensor, rotation: Rotation) -> Tensor:
        """(pictures, patches, width) to the same."""
        q, k, v = (heads(part(x), VISION_HEADS) for part in (self.q, self.k, self.v))
        out = F.scaled_dot_product_attention(rotate(q, rotation), rotate(k, rotation), v)
        mixed: Tensor = self.proj(out.transpose(1, 2).flatten(2))
        return mixed


class VisionBlock(nn.Module):
    """One layer of the vision tower."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.RMSNorm(VISION, eps=1e-6)
        self.norm2 = nn.RMSNorm(VISION, eps=1e-6)
        self.attn = VisionAttention()
        self.mlp = Gated(VISION, VISION_FFN, bias=True)

    def forward(self, x: Tensor, rotation: Rotation) -> Tensor:
        """(pictures, patches, width) to the same."""
        x = x + self.attn(self.norm1(x), rotation)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class PatchEmbed(nn.Module):
    """A convolution over patches that do not overlap is one matrix product."""

    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Conv3d(3, VISION, (2, 14, 14), (2, 14, 14), bias=False)

    def forward(self, patches: Tensor) -> Tensor:
        """(pictures, patches, 1176) to (pictures, patches, width)."""
        return F.linear(patches, self.proj.weight.flatten(1))


class Merger(nn.Module):
    """Four neighbouring patches to one token."""

    def __init__(self) -> None:
        super().__init__()
        self.ln_q = nn.RMSNorm(VISION, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(4 * VISION, 4 * VISION), nn.GELU(), nn.Linear(4 * VISION, HIDDEN)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(pictures, patches, width) to (pictures, patches / 4, hidden)."""
        out: Tensor = self.mlp(self.ln_q(x).unflatten(1, (-1, 4)).flatten(2))
        return out


class Visual(nn.Module):
    """The vision tower; all pictures of a call have the same grid."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed()
        self.blocks = nn.ModuleList(VisionBlock() for _ in range(VISION_LAYERS))
        self.merger = Merger()

    def forward(self, patches: Tensor, grid: tuple[int, int]) -> Tensor:
        """(pictures, patches, 1176) in the processor's order to (pictures, tokens, hidden)."""
        rotation = vision_rotation(*grid)
        x = self.patch_embed(patches)
        for block in self.blocks:
            x = block(x, rotation)
        out: Tensor = self.merger(x)
        return out


def vision_rotation(height: int, width: int) -> Rotation:
    """Rotations of a grid of patches, in the order of the processor (blocks of two by two)."""
    rows = torch.arange(height)[:, None].expand(height, width)
    columns = torch.arange(width)[None].expand(height, width)
    order = [
        axis.reshape(height // 2, 2, width // 2, 2).transpose(1, 2).flatten()
        for axis in (rows, columns)
    ]
    size = VISION // VISION_HEADS // 2
    rate = 1.0 / 10000.0 ** (torch.arange(0, size, 2).float() / size)
    angle = torch.cat([axis[:, None] * rate for axis in order], -1)
    angle = torch.cat((angle, angle), -1)
    return angle.cos(), angle.sin()


class SoundAttention(nn.Module):
    """Full attention inside one chunk."""

    def __init__(self) -> None:
        super().__init__()
        self.k_proj = nn.Linear(SOUND, SOUND, bias=False)
        self.v_proj = nn.Linear(SOUND, SOUND)
        self.q_proj = nn.Linear(SOUND, SOUND)
        self.out_proj = nn.Linear(SOUND, SOUND)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(chunks, tokens, width) to the same."""
        q, k, v = (heads(p(x), SOUND_HEADS) for p in (self.q_proj, self.k_proj, self.v_proj))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        mixed: Tensor = self.out_proj(out.transpose(1, 2).flatten(2))
        return mixed


class SoundLayer(nn.Module):
    """One layer of the sound tower."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = SoundAttention()
        self.self_attn_layer_norm = nn.LayerNorm(SOUND)
        self.fc1 = nn.Linear(SOUND, SOUND_FFN)
        self.fc2 = nn.Linear(SOUND_FFN, SOUND)
        self.final_layer_norm = nn.LayerNorm(SOUND)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(chunks, tokens, width) to the same."""
        x = x + self.self_attn(self.self_attn_layer_norm(x), mask)
        out: Tensor = x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))
        return out


class SoundTower(nn.Module):
    """The audio tower: two convolutions, then attention inside chunks of two seconds."""

    places: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(128, SOUND, 3, padding=1)
        self.conv2 = nn.Conv1d(SOUND, SOUND, 3, stride=2, padding=1)
        self.audio_bos_eos_token = nn.Embedding(2, HIDDEN)
        self.layers = nn.ModuleList(SoundLayer() for _ in range(SOUND_LAYERS))
        self.ln_post = nn.LayerNorm(SOUND)
        self.proj = nn.Linear(SOUND, HIDDEN)
        rate = torch.exp(-math.log(10000) / (SOUND // 2 - 1) * torch.arange(SOUND // 2))
        angle = torch.arange(CHUNK // 2)[:, None] * rate
        places = torch.cat((angle.sin(), angle.cos()), 1)
        self.register_buffer("places", places, persistent=False)

    def forward(self, chunks: Tensor, lengths: Tensor) -> Tensor:
        """Mel chunks (C, 128, 200), zeros behind their `lengths`, to tokens (all, hidden)."""
        inside = torch.arange(CHUNK) < lengths[:, None]
        x = F.gelu(self.conv1(chunks)) * inside[:, None]
        x = F.gelu(self.conv2(x)).transpose(1, 2) + self.places
        after = (lengths - 1) // 2 + 1
        mask = (torch.arange(CHUNK // 2) < after[:, None])[:, None, None]
        for layer in self.layers:
            x = layer(x, mask)
        x = (x[:, ::2] + x[:, 1::2]) / 2
        kept = torch.arange(CHUNK // 4) < (after // 2)[:, None]
        out: Tensor = self.proj(self.ln_post(x[kept]))
        return out


class TextAttention(nn.Module):
    """Grouped-query attention with rotary positions on three axes."""

    def __init__(self) -> None:
        super().__init__()
        self.q_proj = nn.Linear(HIDDEN, HEADS * HEAD)
        self.k_proj = nn.Linear(HIDDEN, KV_HEADS * HEAD)
        self.v_proj = nn.Linear(HIDDEN, KV_HEADS * HEAD)
        self.o_proj = nn.Linear(HEADS * HEAD, HIDDEN, bias=False)

    def forward(self, x: Tensor, rotation: Rotation, mask: Tensor) -> Tensor:
        """(B, T, hidden) to the same."""
        q = rotate(heads(self.q_proj(x), HEADS), rotation)
        k = rotate(heads(self.k_proj(x), KV_HEADS), rotation)
        v = heads(self.v_proj(x), KV_HEADS)
        k, v = (part.repeat_interleave(HEADS // KV_HEADS, 1) for part in (k, v))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        mixed: Tensor = self.o_proj(out.transpose(1, 2).flatten(2))
        return mixed


class TextLayer(nn.Module):
    """One layer of the language model."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = TextAttention()
        self.mlp = Gated(HIDDEN, FFN, bias=False)
        self.input_layernorm = nn.RMSNorm(HIDDEN, eps=1e-6)
        self.post_attention_layernorm = nn.RMSNorm(HIDDEN, eps=1e-6)

    def forward(self, x: Tensor, rotation: Rotation, mask: Tensor) -> Tensor:
        """(B, T, hidden) to the same."""
        x = x + self.self_attn(self.input_layernorm(x), rotation, mask)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Text(nn.Module):
    """The language model without its head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(VOCABULARY, HIDDEN)
        self.layers = nn.ModuleList(TextLayer() for _ in range(LAYERS))
        self.norm = nn.RMSNorm(HIDDEN, eps=1e-6)

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        """Embeddings (B, T, hidden), positions (B, 3, T), mask (B, T, T) of who may see whom."""
        rotation = text_rotation(positions)
        for layer in self.layers:
            x = layer(x, rotation, mask[:, None])
        out: Tensor = self.norm(x)
        return out


def text_rotation(positions: Tensor) -> Rotation:
    """Rotations (B, 1, T, head size) for positions (B, 3, T) on time, height and width."""
    rate = 1.0 / THETA ** (torch.arange(0, HEAD, 2).float() / HEAD)
    angle = positions[..., None].float() * rate
    parts = [part[:, axis] for axis, part in enumerate(angle.split(MROPE, -1))]
    mixed = torch.cat(parts, -1)[:, None]
    mixed = torch.cat((mixed, mixed), -1)
    return mixed.cos(), mixed.sin()


class Thinker(nn.Module):
    """Towers, language model and head."""

    def __init__(self) -> None:
        super().__init__()
        self.audio_tower = SoundTower()
        self.visual = Visual()
        self.model = Text()
        self.lm_head = nn.Linear(HIDDEN, VOCABULARY, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv3d):
                fan_in = module.weight[0].numel()
                nn.init.normal_(module.weight, std=min(0.05, fan_in**-0.5))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.3)
