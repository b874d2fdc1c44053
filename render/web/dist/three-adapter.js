var u=`precision highp float;
precision highp int;
uniform highp sampler2D splats;
uniform mat4 view, projection;
uniform vec2 size;
out vec2 place;
flat out vec4 tint;
const float LOWEST = 1.0 / 255.0;

void main() {
  int index = 3 * (gl_VertexID >> 2);
  ivec2 texel = ivec2(index % 1020, index / 1020);
  vec4 first = texelFetch(splats, texel, 0);
  vec4 s = texelFetch(splats, texel + ivec2(1, 0), 0);
  vec2 rest = texelFetch(splats, texel + ivec2(2, 0), 0).xy;
  uint color = floatBitsToUint(first.w);
  tint = vec4(color & 255u, (color >> 8) & 255u, (color >> 16) & 255u, color >> 24) / 255.0;
  vec4 center = view * vec4(first.xyz, 1.0);
  place = vec2(0.0);
  gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
  if (center.z > -0.01 || tint.a < LOWEST) return;
  // Axes of the picture: x to the right, y upwards, the depth is -z.
  float inverse = -1.0 / center.z;
  vec2 focal = vec2(projection[0][0], projection[1][1]) * 0.5 * size;
  vec2 middle = vec2(projection[2][0], projection[2][1]);
  vec2 slope = center.xy * inverse;
  vec2 reach = 1.3 / vec2(projection[0][0], projection[1][1]);
  vec2 shift = middle / vec2(projection[0][0], projection[1][1]);
  vec2 bounded = clamp(slope, shift - reach, shift + reach);
  mat3 turn = transpose(mat3(view));
  vec3 a = turn * vec3(focal.x * inverse, 0.0, focal.x * inverse * bounded.x);
  vec3 b = turn * vec3(0.0, focal.y * inverse, focal.y * inverse * bounded.y);
  mat3 spread = mat3(s.x, s.y, s.z, s.y, s.w, rest.x, s.z, rest.x, rest.y);
  vec3 sa = spread * a, sb = spread * b;
  float xx = dot(a, sa) + 0.3, xy = dot(a, sb), yy = dot(b, sb) + 0.3;
  // The ellipse where alpha falls below a byte's step, by its axes.
  float half_sum = 0.5 * (xx + yy);
  float gap = length(vec2(0.5 * (xx - yy), xy));
  float large = half_sum + gap, small = max(half_sum - gap, 0.01);
  vec2 axis = abs(xy) > 1e-6 * large ? normalize(vec2(xy, large - xx)) : xx >= yy ? vec2(1.0, 0.0) : vec2(0.0, 1.0);
  vec2 corner = vec2(gl_VertexID & 1, (gl_VertexID >> 1) & 1) * 2.0 - 1.0;
  place = corner * sqrt(2.0 * log(tint.a / LOWEST));
  vec2 pixels = axis * place.x * sqrt(large) + vec2(-axis.y, axis.x) * place.y * sqrt(small);
  vec4 clip = projection * center;
  gl_Position = vec4(clip.xy + pixels * 2.0 / size * clip.w, clip.zw);
}`,x=`precision highp float;
in vec2 place;
flat in vec4 tint;
out vec4 color;
void main() {
  float alpha = min(0.999, tint.a * exp(-0.5 * dot(place, place)));
  if (alpha < 1.0 / 255.0) discard;
  color = vec4(tint.rgb * alpha, alpha);
}`;function d(i){return Math.max(1,Math.ceil(i*3/1020))}function v(i){let e=new Uint32Array(6*i);for(let t=0;t<i;t++)e.set([4*t,4*t+1,4*t+2,4*t+2,4*t+1,4*t+3],6*t);return e}var f=class{constructor(e,t,a=new e.Group){this.three=e;this.avatar=t;this.group=a;let r=t.manifest.gaussians,s=d(r);this.staged=new Float32Array(4*1020*s),this.texture=new e.DataTexture(this.staged,1020,s,e.RGBAFormat,e.FloatType);let l=new e.BufferGeometry;l.setIndex(new e.BufferAttribute(v(r),1));let o={splats:{value:this.texture},view:{value:new e.Matrix4},projection:{value:new e.Matrix4},size:{value:new e.Vector2(1,1)}},c=new e.RawShaderMaterial({glslVersion:e.GLSL3,vertexShader:u,fragmentShader:x,uniforms:o,transparent:!0,depthWrite:!1,side:e.DoubleSide,toneMapped:!1,blending:e.CustomBlending,blendSrc:e.OneFactor,blendDst:e.OneMinusSrcAlphaFactor});this.mesh=new e.Mesh(l,c),this.mesh.frustumCulled=!1;let n=new e.Vector4;this.mesh.onBeforeRender=(g,T,p)=>{g.getCurrentViewport(n),o.size.value.set(n.z,n.w),o.view.value.multiplyMatrices(p.matrixWorldInverse,this.mesh.matrixWorld),o.projection.value.copy(p.projectionMatrix),c.uniformsNeedUpdate=!0};let[m,y,w]=t.manifest.center;this.inner=new e.Group,this.inner.position.set(-m,-y,-w),this.inner.add(this.mesh),a.add(this.inner)}three;avatar;group;mesh;texture;staged;inner;waiting=!1;spare=null;async update(e){if(!this.waiting){this.waiting=!0;try{this.group.updateWorldMatrix(!0,!0),e.updateWorldMatrix(!0,!1);let t=this.mesh.matrixWorld.clone().invert(),a=new this.three.Vector3().setFromMatrixPosition(e.matrixWorld).applyMatrix4(t),r=new this.three.Vector3(0,0,-1).transformDirection(e.matrixWorld).transformDirection(t),s=await this.avatar.splats([r.x,r.y,r.z],[a.x,a.y,a.z],this.spare);this.staged.set(new Float32Array(s.content)),this.spare=s.content,this.texture.needsUpdate=!0}finally{this.waiting=!1}}}dispose(){this.texture.dispose(),this.mesh.geometry.dispose(),this.mesh.material.dispose()}};export{f as AvatarObject};
